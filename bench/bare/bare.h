/* What the bare programs share: the clock, ports, frames and a histogram.
 *
 * request   u32 length | u64 request id | payload          big endian; length counts what follows it
 * response  u32 length | u64 request id | response id      ASCII, unique over ports and restarts
 */
#ifndef BARE_H
#define BARE_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { HEADER = 12, MAX_PORTS = 256, MAX_FRAME = 1 << 16, ID_MAX = 64 };

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "error: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

static inline uint64_t now_ns(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline uint32_t get_u32(const unsigned char *at)
{
    uint32_t v;
    memcpy(&v, at, 4);
    return be32toh(v);
}

static inline uint64_t get_u64(const unsigned char *at)
{
    uint64_t v;
    memcpy(&v, at, 8);
    return be64toh(v);
}

static inline void put_header(unsigned char *at, size_t body, uint64_t id)
{
    uint32_t length = htobe32((uint32_t)(8 + body));
    id = htobe64(id);
    memcpy(at, &length, 4);
    memcpy(at + 4, &id, 8);
}

static inline long number(const char *text, const char *what, long least, long most)
{
    char *end;
    errno = 0;
    long v = strtol(text, &end, 10);
    if (errno || end == text || *end || v < least || v > most)
        die("%s is a whole number from %ld to %ld, not '%s'", what, least, most, text);
    return v;
}

/* "9000-9009" or "9000" */
static inline void port_range(const char *text, int *first, int *count)
{
    char *end;
    long a = strtol(text, &end, 10), b = a;
    if (*end == '-')
        b = strtol(end + 1, &end, 10);
    if (*end || a < 1 || b < a || b > 65535 || b - a >= MAX_PORTS)
        die("ports are FIRST-LAST, at most %d, not '%s'", MAX_PORTS, text);
    *first = (int)a;
    *count = (int)(b - a + 1);
}

static inline void no_delay(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static inline int listen_on(int port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        die("cannot make a socket: %s", strerror(errno));
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) || listen(fd, 4096)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* All of `count` neighbouring ports or none; first = 0 looks for free ones below the ephemeral range.
 * Prints "FIRST-LAST". */
static inline int listen_on_all(int first, int count, int *fds)
{
    for (int attempt = 0; attempt < 100; attempt++) {
        unsigned random = 0;
        if (getrandom(&random, sizeof random, 0) != sizeof random)
            die("no random numbers");
        int base = first ? first : 15000 + (int)(random % 15000), got = 0;
        while (got < count && (fds[got] = listen_on(base + got)) >= 0)
            got++;
        if (got == count) {
            printf("%d-%d\n", base, base + count - 1);
            fflush(stdout);
            return base;
        }
        int failed = errno;
        while (got--)
            close(fds[got]);
        if (first)
            die("cannot listen on ports %d-%d: %s", first, first + count - 1, strerror(failed));
    }
    die("found no %d free neighbouring ports", count);
}

static inline int connect_to(int port)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to))
        die("cannot connect to port %d: %s", port, strerror(errno));
    no_delay(fd);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static volatile sig_atomic_t stopped;

static inline void on_stop(int signal)
{
    (void)signal;
    stopped = 1;
}

/* Interrupts epoll_wait, so no SA_RESTART. */
static inline void stop_on_signals(void)
{
    struct sigaction stop = {.sa_handler = on_stop};
    sigaction(SIGTERM, &stop, NULL);
    sigaction(SIGINT, &stop, NULL);
}

/* Turns until all is sent: what is in flight is bounded by the window, which the buffers of loopback hold. Returns 0 when
 * the peer is gone. */
static inline int write_all(int fd, const unsigned char *at, size_t left)
{
    while (left && !stopped) {
        ssize_t n = send(fd, at, left, MSG_NOSIGNAL);
        if (n > 0) {
            at += n;
            left -= (size_t)n;
        } else if (errno != EAGAIN && errno != EINTR) {
            return 0;
        }
    }
    return 1;
}

static inline double cpu_seconds(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Response ids of one port: <16 hex digits>-<port>-<count>. */
struct ids {
    char prefix[32];
    int prefix_length;
    uint64_t count;
};

static inline void ids_start(struct ids *ids, uint64_t instance, int port)
{
    ids->count = 0;
    ids->prefix_length = snprintf(ids->prefix, sizeof ids->prefix, "%016llx-%d-", (unsigned long long)instance, port);
}

static inline size_t ids_next(struct ids *ids, unsigned char *out)
{
    char digits[20];
    int n = 0;
    uint64_t v = ++ids->count;
    do
        digits[n++] = (char)('0' + v % 10);
    while (v /= 10);
    memcpy(out, ids->prefix, (size_t)ids->prefix_length);
    for (int i = 0; i < n; i++)
        out[ids->prefix_length + i] = (unsigned char)digits[n - 1 - i];
    return (size_t)(ids->prefix_length + n);
}

/* Nanoseconds in 64 buckets for each power of two: 1.6 % wide. */
struct histogram {
    uint64_t total, max, buckets[64 * 64];
};

static inline void record(struct histogram *h, uint64_t ns)
{
    unsigned shift = ns < 64 ? 0 : 57u - (unsigned)__builtin_clzll(ns);
    unsigned bucket = ns < 64 ? (unsigned)ns : (shift + 1) * 64 + (unsigned)((ns >> shift) - 64);
    h->buckets[bucket]++;
    h->total++;
    if (ns > h->max)
        h->max = ns;
}

static inline double percentile_us(const struct histogram *h, double p)
{
    uint64_t rank = (uint64_t)(p / 100.0 * (double)h->total), seen = 0;
    for (unsigned i = 0; i < 64 * 64; i++) {
        seen += h->buckets[i];
        if (seen > rank) {
            unsigned shift = i < 64 ? 0 : i / 64 - 1;
            uint64_t low = i < 64 ? i : (uint64_t)(64 + i % 64) << shift;
            return (double)(low + ((1ull << shift) >> 1)) / 1e3;
        }
    }
    return (double)h->max / 1e3;
}

#endif
