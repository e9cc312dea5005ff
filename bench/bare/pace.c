/* The bare pacer: one thread, one global schedule t0 + i / RATE, connections in turn.
 *
 *   pace -p FIRST-LAST -r RATE [-c CONNECTIONS] [-l LIMIT] [-d SECONDS] [-g GUARD_US] [-b FRAME_BYTES]
 *
 * Sleeps with 1 ns of timer slack until GUARD_US (60) before the due time and polls for the rest; a guard of 0 only sleeps.
 * Answers are read and thrown away. After LIMIT requests (0: never) a connection is replaced by one that was opened
 * before. Prints one line: rate, and p50 and p99 of the lag, the time from due to sent.
 */
#include "bare.h"

enum { MAX_CONNECTIONS = 1000 };

struct connection {
    int fd, spare, old, port;
    uint64_t sent;
};

static void drain(int fd)
{
    static unsigned char nowhere[1 << 16];
    while (recv(fd, nowhere, sizeof nowhere, MSG_DONTWAIT) > 0)
        ;
}

/* The old one is closed at the next replacement, when its last answers have long come: a close before would reset it. */
static void replace(struct connection *c)
{
    if (c->old >= 0) {
        drain(c->old);
        close(c->old);
    }
    shutdown(c->fd, SHUT_WR);
    c->old = c->fd;
    c->fd = c->spare;
    c->spare = connect_to(c->port);
    c->sent = 0;
}

int main(int argc, char **argv)
{
    int first = 0, ports = 0, count = 10, seconds = 10, frame = 64, option;
    uint64_t rate = 0, limit = 100, guard = 60000;
    while ((option = getopt(argc, argv, "p:r:c:l:d:g:b:")) != -1) {
        if (option == 'p')
            port_range(optarg, &first, &ports);
        else if (option == 'r')
            rate = (uint64_t)number(optarg, "RATE", 1, 10000000);
        else if (option == 'c')
            count = (int)number(optarg, "CONNECTIONS", 1, MAX_CONNECTIONS);
        else if (option == 'l')
            limit = (uint64_t)number(optarg, "LIMIT", 0, INT32_MAX);
        else if (option == 'd')
            seconds = (int)number(optarg, "SECONDS", 1, 3600);
        else if (option == 'g')
            guard = (uint64_t)number(optarg, "GUARD_US", 0, 1000000) * 1000;
        else if (option == 'b')
            frame = (int)number(optarg, "FRAME_BYTES", HEADER, 4096);
        else
            rate = 0;
    }
    if (!rate || !ports)
        die("usage: pace -p FIRST-LAST -r RATE [-c CONNECTIONS] [-l LIMIT] [-d SECONDS] [-g GUARD_US] [-b FRAME_BYTES]");
    prctl(PR_SET_TIMERSLACK, 1);
    static struct connection connections[MAX_CONNECTIONS];
    static struct histogram lags;
    static unsigned char request[4096];
    memset(request, 'x', sizeof request);
    for (int i = 0; i < count; i++) {
        connections[i].port = first + i % ports;
        connections[i].fd = connect_to(connections[i].port);
        /* First limits differ, so that all do not reconnect at once. */
        connections[i].sent = limit ? limit * (uint64_t)i / (uint64_t)count : 0;
        connections[i].spare = limit ? connect_to(connections[i].port) : -1;
        connections[i].old = -1;
    }
    uint64_t total = rate * (uint64_t)seconds, start = now_ns(CLOCK_MONOTONIC) + 10000000, now = 0;
    for (uint64_t n = 0; n < total; n++) {
        uint64_t due = start + n / rate * 1000000000u + n % rate * 1000000000u / rate;
        struct connection *c = &connections[n % (uint64_t)count];
        drain(c->fd);
        if ((now = now_ns(CLOCK_MONOTONIC)) + guard < due) {
            struct timespec until = {(time_t)((due - guard) / 1000000000u), (long)((due - guard) % 1000000000u)};
            while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
                ;
        }
        while ((now = now_ns(CLOCK_MONOTONIC)) < due)
            ;
        put_header(request, (size_t)frame - HEADER, n);
        if (!write_all(c->fd, request, (size_t)frame))
            die("a connection ended while it was written to: %s", strerror(errno));
        record(&lags, now - due);
        if (++c->sent == limit)
            replace(c);
    }
    double took = (double)(now - start) / 1e9;
    /* The last answers, so that nothing is reset. */
    struct timespec rest = {0, 50000000};
    nanosleep(&rest, NULL);
    for (int i = 0; i < count; i++) {
        drain(connections[i].fd);
        if (connections[i].old >= 0)
            drain(connections[i].old);
    }
    printf("rate=%.1f lag_p50_us=%.2f lag_p99_us=%.2f sent=%llu seconds=%.3f cpu_s=%.3f\n",
           took > 0 ? (double)(total - 1) / took : 0.0, percentile_us(&lags, 50), percentile_us(&lags, 99),
           (unsigned long long)total, took, cpu_seconds());
    return 0;
}
