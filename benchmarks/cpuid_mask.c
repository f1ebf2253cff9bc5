/* CPUID as a lesser CPU answers it, for libraries whose CPUID instructions were replaced by UD2 (see lesser_cpu.py).
 *
 * To be preloaded. CPUID_MASK is words of four hexadecimal numbers, "leaf subleaf register bits", the register by its
 * letter a to d: these bits read as zero. CPUINFO is the file that stands for /proc/cpuinfo. A UD2 elsewhere ends the
 * process as ever. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

struct rule { unsigned leaf, subleaf, bits; char where; };
static struct rule rules[64];
static int count;
static const char *cpuinfo;

static void answer(int number, siginfo_t *info, void *context) {
    greg_t *at = ((ucontext_t *)context)->uc_mcontext.gregs;
    (void)number, (void)info;
    if (memcmp((void *)at[REG_RIP], "\x0f\x0b", 2)) {
        signal(SIGILL, SIG_DFL);
        return;
    }
    unsigned leaf = at[REG_RAX], subleaf = at[REG_RCX], found[4];
    __cpuid_count(leaf, subleaf, found[0], found[1], found[2], found[3]);
    for (int i = 0; i < count; i++)
        if (rules[i].leaf == leaf && (leaf != 7 || rules[i].subleaf == subleaf))
            found[rules[i].where - 'a'] &= ~rules[i].bits;
    at[REG_RAX] = found[0], at[REG_RBX] = found[1], at[REG_RCX] = found[2], at[REG_RDX] = found[3];
    at[REG_RIP] += 2;
}

__attribute__((constructor)) static void begin(void) {
    const char *text = getenv("CPUID_MASK");
    int used;
    cpuinfo = getenv("CPUINFO");
    for (; text && count < 64; text += used, count++) {
        struct rule *rule = &rules[count];
        if (sscanf(text, " %x %x %c %x%n", &rule->leaf, &rule->subleaf, &rule->where, &rule->bits, &used) != 4) break;
    }
    struct sigaction how = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    int (*set)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");
    if (set(SIGILL, &how, NULL)) abort();
}

/* Nobody takes the signal away. */
int sigaction(int number, const struct sigaction *how, struct sigaction *before) {
    int (*set)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");
    return set(number, number == SIGILL ? NULL : how, before);
}

static const char *of(const char *path) { return cpuinfo && !strcmp(path, "/proc/cpuinfo") ? cpuinfo : path; }

#define OPENS(NAME)                                                    \
    int NAME(const char *path, int flags, ...) {                       \
        va_list rest;                                                  \
        va_start(rest, flags);                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                  \
        return ((int (*)(const char *, int, ...))dlsym(RTLD_NEXT, #NAME))(of(path), flags, mode); \
    }
OPENS(open)
OPENS(open64)

#define FOPENS(NAME)                                     \
    FILE *NAME(const char *path, const char *mode) {     \
        return ((FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, #NAME))(of(path), mode); \
    }
FOPENS(fopen)
FOPENS(fopen64)
