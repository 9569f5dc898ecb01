// An upstream that costs next to nothing: answers chat completions as an engine would, one thread, epoll.
//
//   upstream PORT CHUNKS CHUNK_MS
//
// A request whose body has "stream":true gets CHUNKS server-sent events, one each CHUNK_MS, each with running
// usage, then the closing usage event and [DONE]; any other gets one JSON body. GET answers 200 and nothing.
// CHUNKS 0 streams for ever without content (for measuring idle streams).

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 8192, REQUEST_BYTES = 1 << 17 };

typedef struct {
  int fd, used, sent_chunks, streaming;
  double next_s;
  char *request;
} connection;

static connection connections[CONNECTIONS];
static int epoll_fd, chunks, streams;
static double chunk_s;

static double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static void drop(connection *c) {
  if (c->streaming) streams--;
  close(c->fd);
  free(c->request);
  memset(c, 0, sizeof *c);
}

// Answers are small: a socket that cannot take one at once belongs to a reader that is broken.
static int put(connection *c, const char *data, int size) {
  if (write(c->fd, data, size) == size) return 1;
  drop(c);
  return 0;
}

static int put_chunk(connection *c, const char *text, int size) {
  char framed[2048];
  int n = snprintf(framed, sizeof framed, "%x\r\n%.*s\r\n", size, size, text);
  return put(c, framed, n);
}

static const char *JSON =
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"bench\",\"choices\":[{\"index\":0,"
    "\"message\":{\"role\":\"assistant\",\"content\":\"The capital of France is Paris.\"},\"finish_reason\":\"stop\"}],"
    "\"usage\":{\"prompt_tokens\":37,\"total_tokens\":45,\"completion_tokens\":8}}";

static void stream_step(connection *c) {
  char event[1024];
  int n;
  if (chunks && c->sent_chunks == chunks) {
    n = snprintf(event, sizeof event,
                 "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\","
                 "\"choices\":[],\"usage\":{\"prompt_tokens\":37,\"total_tokens\":%d,\"completion_tokens\":%d}}\n\n"
                 "data: [DONE]\n\n", 37 + chunks, chunks);
    c->streaming = 0;
    streams--;
    if (put_chunk(c, event, n)) put(c, "0\r\n\r\n", 5);
    return;
  }
  c->sent_chunks++;
  c->next_s += chunk_s;
  n = snprintf(event, sizeof event,
               "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"bench\","
               "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%s\"},\"logprobs\":null,\"finish_reason\":%s}],"
               "\"usage\":{\"prompt_tokens\":37,\"total_tokens\":%d,\"completion_tokens\":%d}}\n\n",
               " token", c->sent_chunks == chunks ? "\"stop\"" : "null", 37 + c->sent_chunks, c->sent_chunks);
  put_chunk(c, event, n);
}

static void answer(connection *c, int streaming, int get) {
  char head[512];
  int n;
  if (get) {
    n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    put(c, head, n);
  } else if (streaming) {
    n = snprintf(head, sizeof head,
                 "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n");
    if (!put(c, head, n)) return;
    c->streaming = 1;
    c->sent_chunks = 0;
    c->next_s = now_s();
    streams++;
    stream_step(c);
  } else {
    char whole[1024];
    n = snprintf(whole, sizeof whole, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                 strlen(JSON), JSON);
    put(c, whole, n);
  }
}

// Takes every whole request from the buffer; a request is whole when its content-length has come.
static void readable(connection *c) {
  int n = read(c->fd, c->request + c->used, REQUEST_BYTES - 1 - c->used);
  if (n <= 0) {
    if (n == 0 || errno != EAGAIN) drop(c);
    return;
  }
  c->used += n;
  c->request[c->used] = 0;
  char *end;
  while (c->fd && (end = strstr(c->request, "\r\n\r\n"))) {
    char *length = strcasestr(c->request, "\r\ncontent-length:");
    int body = length && length < end ? atoi(length + 17) : 0, head = end + 4 - c->request;
    if (c->used < head + body) return;
    int get = !strncmp(c->request, "GET", 3);
    char saved = c->request[head + body];
    c->request[head + body] = 0;
    char *flag = strstr(end, "\"stream\":");
    int streaming = flag && strstr(flag, "true") == flag + 9 + (flag[9] == ' ');
    c->request[head + body] = saved;
    memmove(c->request, c->request + head + body, c->used - head - body + 1);
    c->used -= head + body;
    answer(c, streaming, get);
  }
}

static void accept_all(int listener) {
  for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
    int i = 0, one = 1;
    while (i < CONNECTIONS && connections[i].fd) i++;
    if (i == CONNECTIONS) {
      close(fd);
      continue;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connections[i] = (connection){.fd = fd, .request = malloc(REQUEST_BYTES)};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN, .data.u32 = i + 1});
  }
}

int main(int argc, char **argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: upstream PORT CHUNKS CHUNK_MS\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  chunks = atoi(argv[2]);
  chunk_s = atof(argv[3]) / 1000;
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1]))};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (bind(listener, (void *)&address, sizeof address) || listen(listener, 4096)) {
    perror("upstream");
    return 1;
  }
  epoll_fd = epoll_create1(0);
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN, .data.u32 = 0});
  struct epoll_event events[512];
  for (;;) {
    int wait_ms = streams ? 1 : 1000;
    int n = epoll_wait(epoll_fd, events, 512, wait_ms);
    for (int i = 0; i < n; i++) {
      if (!events[i].data.u32) accept_all(listener);
      else if (connections[events[i].data.u32 - 1].fd) readable(&connections[events[i].data.u32 - 1]);
    }
    if (!streams) continue;
    double now = now_s();
    for (int i = 0; i < CONNECTIONS; i++)
      while (connections[i].fd && connections[i].streaming && connections[i].next_s <= now) stream_step(&connections[i]);
  }
}
