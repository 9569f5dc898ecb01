/* A libnvidia-ml.so.1 whose behaviour stands in a file that is read again at every call.
 *
 * The file is named by NVML_STUB. Each line is `name value`, or `name.card value` for one card, which goes
 * first. A name is a function's, for its return code, or a value's (see the functions). `hang`: the function
 * of that name, of the card given, sleeps until the line is gone. -DWITHOUT_NEWER_CALLS and
 * -DWITHOUT_THROTTLE and -DWITHOUT_EVENTS leave functions out. `xids`: how many Xid events of the code `xid` a
 * card has had; each is told once. NVML_STUB_LOG, where set, gets a line per opening and closing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SUCCESS = 0, NOT_SUPPORTED = 3, INVALID_ARGUMENT = 2, INSUFFICIENT_SIZE = 7, TIMEOUT = 10 };

typedef struct { int index; } card_t;
typedef struct { unsigned long long total, free, used; } memory_t;
typedef struct { unsigned int gpu, memory; } utilisation_t;
typedef struct {
    char bus_id_legacy[16];
    unsigned int domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
} pci_t;
typedef struct { unsigned int version, sensor; int temperature; } temperature_t;

static card_t cards[16];

/* The value of `name` for this card (-1: no card), or `otherwise`. */
static int look(const char *name, int card, char *value, size_t size) {
    char path_name[128], line[512], for_card[128];
    const char *path = getenv("NVML_STUB");
    FILE *file = path ? fopen(path, "r") : NULL;
    int found = 0;
    if (!file)
        return 0;
    snprintf(for_card, sizeof for_card, "%s.%d", name, card);
    while (fgets(line, sizeof line, file)) {
        int used = 0;
        if (sscanf(line, "%127s %n", path_name, &used) != 1)
            continue;
        int exact = card >= 0 && !strcmp(path_name, for_card);
        if (!exact && (found || strcmp(path_name, name)))
            continue;
        line[strcspn(line, "\n")] = 0;
        snprintf(value, size, "%s", line + used);
        found = 1;
        if (exact)
            break;
    }
    fclose(file);
    return found;
}

static unsigned long long number(const char *name, int card, unsigned long long otherwise) {
    char value[64];
    return look(name, card, value, sizeof value) ? strtoull(value, NULL, 0) : otherwise;
}

static void text(const char *name, int card, const char *otherwise, char *out, unsigned int size) {
    char value[256];
    snprintf(out, size, "%s", look(name, card, value, sizeof value) ? value : otherwise);
}

/* What the function returns before it does anything; all functions of a lost card return the same. */
static int entered(const char *function, int card) {
    char value[128];
    while (look("hang", card, value, sizeof value) && !strcmp(value, function))
        usleep(10000);
    return (int)number(function, card, card >= 0 ? number("every", card, SUCCESS) : SUCCESS);
}

static void note(const char *what) {
    const char *path = getenv("NVML_STUB_LOG");
    FILE *file = path ? fopen(path, "a") : NULL;
    if (file) {
        fprintf(file, "%s\n", what);
        fclose(file);
    }
}

#define ENTER(function, card) \
    do { \
        int code_ = entered(function, card); \
        if (code_) \
            return code_; \
    } while (0)

int nvmlInitWithFlags(unsigned int flags) {
    (void)flags;
    ENTER("nvmlInitWithFlags", -1);
    note("opened");
    return SUCCESS;
}

int nvmlShutdown(void) {
    note("closed");
    return SUCCESS;
}

const char *nvmlErrorString(int code) {
    return code == 999 ? "Unknown Error" : "An error of the stub";
}

int nvmlSystemGetDriverVersion(char *out, unsigned int size) {
    ENTER("nvmlSystemGetDriverVersion", -1);
    text("driver", -1, "575.51.03", out, size);
    return SUCCESS;
}

int nvmlSystemGetNVMLVersion(char *out, unsigned int size) {
    ENTER("nvmlSystemGetNVMLVersion", -1);
    text("nvml", -1, "12.575.51.03", out, size);
    return SUCCESS;
}

int nvmlDeviceGetCount_v2(unsigned int *count) {
    ENTER("nvmlDeviceGetCount_v2", -1);
    *count = (unsigned int)number("count", -1, 1);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, card_t **card) {
    ENTER("nvmlDeviceGetHandleByIndex_v2", (int)index);
    if (index >= number("count", -1, 1) || index >= 16)
        return INVALID_ARGUMENT;
    cards[index].index = (int)index;
    *card = &cards[index];
    return SUCCESS;
}

int nvmlDeviceGetName(card_t *card, char *out, unsigned int size) {
    ENTER("nvmlDeviceGetName", card->index);
    text("name", card->index, "NVIDIA RTX 2000 Ada Generation", out, size);
    return SUCCESS;
}

int nvmlDeviceGetUUID(card_t *card, char *out, unsigned int size) {
    char otherwise[64];
    ENTER("nvmlDeviceGetUUID", card->index);
    snprintf(otherwise, sizeof otherwise, "GPU-0000000%d", card->index);
    text("uuid", card->index, otherwise, out, size);
    return SUCCESS;
}

int nvmlDeviceGetPciInfo_v3(card_t *card, pci_t *out) {
    ENTER("nvmlDeviceGetPciInfo_v3", card->index);
    memset(out, 0, sizeof *out);
    snprintf(out->bus_id, sizeof out->bus_id, "00000000:0%d:00.0", card->index + 1);
    return SUCCESS;
}

int nvmlDeviceGetMemoryInfo(card_t *card, memory_t *out) {
    ENTER("nvmlDeviceGetMemoryInfo", card->index);
    out->total = number("memory_total", card->index, 17175674880ULL);
    out->used = number("memory_used", card->index, 1073741824ULL);
    out->free = out->total - out->used;
    return SUCCESS;
}

int nvmlDeviceGetUtilizationRates(card_t *card, utilisation_t *out) {
    ENTER("nvmlDeviceGetUtilizationRates", card->index);
    out->gpu = (unsigned int)number("utilisation", card->index, 0);
    out->memory = 0;
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(card_t *card, unsigned int type, unsigned int *out) {
    ENTER("nvmlDeviceGetClockInfo", card->index);
    *out = type == 0 ? 1620 : 8001;
    return SUCCESS;
}

int nvmlDeviceGetEccMode(card_t *card, unsigned int *current, unsigned int *pending) {
    ENTER("nvmlDeviceGetEccMode", card->index);
    *current = *pending = (unsigned int)number("ecc", card->index, 1);
    return SUCCESS;
}

int nvmlDeviceGetTotalEccErrors(card_t *card, unsigned int type, unsigned int counter, unsigned long long *out) {
    ENTER("nvmlDeviceGetTotalEccErrors", card->index);
    /* Over the card's life they are always more than since the driver was loaded. */
    *out = number(type == 0 ? "ecc_corrected" : "ecc_uncorrected", card->index, 0) + (counter ? 1000 : 0);
    return SUCCESS;
}

int nvmlDeviceGetCudaComputeCapability(card_t *card, int *major, int *minor) {
    ENTER("nvmlDeviceGetCudaComputeCapability", card->index);
    *major = 8;
    *minor = 9;
    return SUCCESS;
}

int nvmlDeviceGetRetiredPages(card_t *card, unsigned int cause, unsigned int *count, unsigned long long *pages) {
    unsigned int retired = (unsigned int)number("retired", card->index, 0);
    (void)cause;
    ENTER("nvmlDeviceGetRetiredPages", card->index);
    if (!pages || *count < retired) {
        *count = retired;
        return retired ? INSUFFICIENT_SIZE : SUCCESS;
    }
    *count = retired;
    memset(pages, 0, retired * sizeof *pages);
    return SUCCESS;
}

int nvmlDeviceGetRemappedRows(card_t *card, unsigned int *corrected, unsigned int *uncorrected, unsigned int *pending,
                              unsigned int *failed) {
    ENTER("nvmlDeviceGetRemappedRows", card->index);
    *corrected = (unsigned int)number("remapped", card->index, 0);
    *uncorrected = (unsigned int)number("remapped_uncorrected", card->index, 1);
    *pending = *failed = 0;
    return SUCCESS;
}

/* Functions that give one unsigned number. */
#define NUMBER(function, value, otherwise) \
    int function(card_t *card, unsigned int *out) { \
        ENTER(#function, card->index); \
        *out = (unsigned int)number(value, card->index, otherwise); \
        return SUCCESS; \
    }

NUMBER(nvmlDeviceGetPowerUsage, "power_mw", 21500)
NUMBER(nvmlDeviceGetEnforcedPowerLimit, "power_limit_mw", 70000)
NUMBER(nvmlDeviceGetFanSpeed, "fan", 30)
NUMBER(nvmlDeviceGetCurrPcieLinkGeneration, "pcie_generation", 4)
NUMBER(nvmlDeviceGetCurrPcieLinkWidth, "pcie_width", 8)

int nvmlDeviceGetTemperature(card_t *card, unsigned int sensor, unsigned int *out) {
    (void)sensor;
    ENTER("nvmlDeviceGetTemperature", card->index);
    *out = (unsigned int)number("temperature", card->index, 41);
    return SUCCESS;
}

#ifndef WITHOUT_NEWER_CALLS
int nvmlDeviceGetTemperatureV(card_t *card, temperature_t *out) {
    ENTER("nvmlDeviceGetTemperatureV", card->index);
    out->temperature = (int)number("temperature", card->index, 41);
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(card_t *card, unsigned long long *out) {
    ENTER("nvmlDeviceGetCurrentClocksEventReasons", card->index);
    *out = number("reasons", card->index, 1);
    return SUCCESS;
}
#endif

#ifndef WITHOUT_THROTTLE
int nvmlDeviceGetCurrentClocksThrottleReasons(card_t *card, unsigned long long *out) {
    ENTER("nvmlDeviceGetCurrentClocksThrottleReasons", card->index);
    *out = number("reasons", card->index, 1);
    return SUCCESS;
}
#endif

#ifndef WITHOUT_EVENTS
typedef struct {
    card_t *card;
    unsigned long long type, data;
    unsigned int gpu_instance, compute_instance;
} event_t;

static struct { int registered[16]; unsigned long long told[16]; } events;

int nvmlEventSetCreate(void **set) {
    ENTER("nvmlEventSetCreate", -1);
    memset(events.registered, 0, sizeof events.registered);
    *set = &events;
    return SUCCESS;
}

int nvmlDeviceRegisterEvents(card_t *card, unsigned long long types, void *set) {
    (void)set;
    ENTER("nvmlDeviceRegisterEvents", card->index);
    events.registered[card->index] = types == 8;
    return SUCCESS;
}

int nvmlEventSetWait_v2(void *set, event_t *out, unsigned int timeout_ms) {
    (void)set;
    (void)timeout_ms;
    ENTER("nvmlEventSetWait_v2", -1);
    for (int card = 0; card < 16; card++)
        if (events.registered[card] && number("xids", card, 0) > events.told[card]) {
            events.told[card]++;
            memset(out, 0, sizeof *out);
            out->card = &cards[card];
            out->type = 8;
            out->data = number("xid", card, 0);
            return SUCCESS;
        }
    return TIMEOUT;
}

int nvmlEventSetFree(void *set) {
    (void)set;
    note("events freed");
    return SUCCESS;
}
#endif
