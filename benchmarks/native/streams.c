// A client that holds many streams open and checks every one, one thread, epoll.
//
//   streams PORT STREAMS ROUNDS CHUNKS API_KEY MODEL
//
// Opens STREAMS connections; on each, ROUNDS times, asks for a streamed chat completion and reads it to its
// [DONE]. Prints one JSON object: streams that ended well, chunks seen, time to first content chunk p50 and p99
// in ms, wall seconds. Exit status 1 when any stream was wrong or 120 s were not enough.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { TAIL = 64, TIME_LIMIT_S = 120 };

typedef struct {
  int fd, rounds_left, chunks, tail_used;
  double asked_s, first_s;
  char tail[TAIL];
} stream;

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void ask(stream *s, const char *request) {
  s->chunks = s->tail_used = 0;
  s->first_s = 0;
  s->asked_s = now_s();
  if (write(s->fd, request, strlen(request)) < 0) perror("write");
}

static int count(const char *data, int size, const char *word) {
  int n = 0;
  for (const char *at = data; (at = memmem(at, data + size - at, word, strlen(word))); at++) n++;
  return n;
}

int main(int argc, char **argv) {
  if (argc != 7) {
    fprintf(stderr, "usage: streams PORT STREAMS ROUNDS CHUNKS API_KEY MODEL\n");
    return 2;
  }
  int total = atoi(argv[2]), rounds = atoi(argv[3]), wanted = atoi(argv[4]), open_streams = total;
  char body[512], request[2048];
  snprintf(body, sizeof body,
           "{\"model\":\"%s\",\"messages\":[{\"role\":\"user\",\"content\":\"What is the capital of France?\"}],"
           "\"max_tokens\":%d,\"stream\":true}", argv[6], wanted ? wanted : 64);
  snprintf(request, sizeof request,
           "POST /v1/chat/completions HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer %s\r\n"
           "content-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", argv[5], strlen(body), body);
  stream *streams = calloc(total, sizeof *streams);
  double *firsts = calloc((size_t)total * rounds, sizeof *firsts);
  int measured = 0, good = 0, bad = 0, epoll_fd = epoll_create1(0);
  long chunks = 0;
  double began = now_s();
  for (int i = 0; i < total; i++) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(fd, (void *)&address, sizeof address)) {
      perror("connect");
      return 1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    streams[i] = (stream){.fd = fd, .rounds_left = rounds};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.u32 = i});
    ask(&streams[i], request);
  }
  static char data[TAIL + (1 << 16)];
  while (open_streams && now_s() - began < TIME_LIMIT_S) {
    struct epoll_event events[512];
    int n = epoll_wait(epoll_fd, events, 512, 1000);
    for (int i = 0; i < n; i++) {
      stream *s = &streams[events[i].data.u32];
      // A word may lie across two reads: the end of the last one is looked at again.
      memcpy(data, s->tail, s->tail_used);
      int got = read(s->fd, data + s->tail_used, sizeof data - TAIL);
      if (got < 0 && errno == EAGAIN) continue;
      if (got <= 0) {
        bad++;
        open_streams--;
        close(s->fd);
        continue;
      }
      int size = s->tail_used + got;
      const char *word = "\"content\":\" token\"", *end = "data: [DONE]\n\n";
      s->chunks += count(data, size, word);
      if (s->chunks && !s->first_s) {
        s->first_s = now_s();
        firsts[measured++] = (s->first_s - s->asked_s) * 1000;
      }
      if (memmem(data, size, end, strlen(end))) {
        chunks += s->chunks;
        s->chunks == wanted ? good++ : bad++;
        if (--s->rounds_left) {
          ask(s, request);
        } else {
          open_streams--;
          close(s->fd);
        }
        continue;
      }
      // Keep less than a word, so that none is counted twice.
      char *last = memrchr(data, '\n', size);
      int keep = last ? size - (int)(last - data) : size;
      const char *seen = memmem(data + size - keep, keep, word, strlen(word));
      if (seen || keep > TAIL) {
        const char *after = seen ? seen + strlen(word) : data + size - (int)strlen(word) + 1;
        keep = data + size - after;
        if (keep > TAIL) keep = TAIL;
      }
      s->tail_used = keep < 0 ? 0 : keep;
      memcpy(s->tail, data + size - s->tail_used, s->tail_used);
    }
  }
  double wall = now_s() - began;
  qsort(firsts, measured, sizeof *firsts, by_value);
  printf("{\"good\": %d, \"bad\": %d, \"chunks\": %ld, \"ttft_p50_ms\": %.3f, \"ttft_p99_ms\": %.3f, \"wall_s\": %.3f}\n",
         good, bad + open_streams, chunks, measured ? firsts[measured / 2] : 0, measured ? firsts[measured * 99 / 100] : 0, wall);
  return bad || open_streams;
}
