/* The bare load: one thread, epoll, closed loop.
 *
 *   echo_client -p FIRST-LAST [-c CONNECTIONS] [-w WINDOW] [-l LIMIT] [-d SECONDS] [-b FRAME_BYTES]
 *
 * Each connection keeps WINDOW requests in flight; after LIMIT requests (0: never) it is closed and replaced. Prints one
 * line: rate, p50 and p99 of the service time. An answer to another request than the oldest ends it with an error.
 */
#include "bare.h"

enum { IN = 1 << 16, MAX_WINDOW = 1024, MAX_CONNECTIONS = 10000 };

struct connection {
    int fd, port;
    uint64_t sent, received;
    size_t in_length;
    uint64_t sent_at[MAX_WINDOW], ids[MAX_WINDOW];
    unsigned char in[IN];
};

static int poller, window = 16, frame = 64;
static uint64_t limit = 100, next_id, matched, connects;
static struct histogram times;
static unsigned char *out;

static void dial(struct connection *c)
{
    c->fd = connect_to(c->port);
    c->sent = c->received = c->in_length = 0;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event))
        die("cannot watch a socket: %s", strerror(errno));
    connects++;
}

/* Fills the window, all with one write. */
static void fill(struct connection *c)
{
    uint64_t room = (uint64_t)window - (c->sent - c->received);
    if (limit && room > limit - c->sent)
        room = limit - c->sent;
    if (!room)
        return;
    uint64_t now = now_ns(CLOCK_MONOTONIC);
    for (uint64_t i = 0; i < room; i++, c->sent++) {
        unsigned slot = (unsigned)(c->sent % (uint64_t)window);
        c->sent_at[slot] = now;
        c->ids[slot] = next_id;
        put_header(out + i * (uint64_t)frame, (size_t)frame - HEADER, next_id++);
    }
    if (!write_all(c->fd, out, room * (uint64_t)frame))
        die("a connection ended while it was written to: %s", strerror(errno));
}

static void take(struct connection *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_length, IN - c->in_length, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        die("a connection ended with %llu requests unanswered", (unsigned long long)(c->sent - c->received));
    c->in_length += (size_t)n;
    uint64_t now = now_ns(CLOCK_MONOTONIC);
    size_t at = 0;
    while (c->in_length - at >= HEADER) {
        size_t length = get_u32(c->in + at);
        if (length < 8 || length > IN - 4)
            die("a frame of %zu bytes", length);
        if (c->in_length - at < 4 + length)
            break;
        unsigned slot = (unsigned)(c->received % (uint64_t)window);
        if (c->received == c->sent || get_u64(c->in + at + 4) != c->ids[slot])
            die("an answer to another request than the oldest");
        record(&times, now - c->sent_at[slot]);
        c->received++;
        matched++;
        at += 4 + length;
    }
    memmove(c->in, c->in + at, c->in_length - at);
    c->in_length -= at;
    if (limit && c->received == limit) {
        close(c->fd);
        dial(c);
    }
}

int main(int argc, char **argv)
{
    int first = 0, ports = 0, count = 10, seconds = 5, option;
    while ((option = getopt(argc, argv, "p:c:w:l:d:b:")) != -1) {
        if (option == 'p')
            port_range(optarg, &first, &ports);
        else if (option == 'c')
            count = (int)number(optarg, "CONNECTIONS", 1, MAX_CONNECTIONS);
        else if (option == 'w')
            window = (int)number(optarg, "WINDOW", 1, MAX_WINDOW);
        else if (option == 'l')
            limit = (uint64_t)number(optarg, "LIMIT", 0, INT32_MAX);
        else if (option == 'd')
            seconds = (int)number(optarg, "SECONDS", 1, 3600);
        else if (option == 'b')
            frame = (int)number(optarg, "FRAME_BYTES", HEADER, 4096);
        else
            ports = -1;
    }
    if (ports < 1)
        die("usage: echo_client -p FIRST-LAST [-c CONNECTIONS] [-w WINDOW] [-l LIMIT] [-d SECONDS] [-b FRAME_BYTES]");
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct connection *connections = calloc((size_t)count, sizeof *connections);
    out = malloc((size_t)window * (size_t)frame);
    if (!connections || !out)
        die("out of memory");
    memset(out, 'x', (size_t)window * (size_t)frame);
    for (int i = 0; i < count; i++) {
        connections[i].port = first + i % ports;
        dial(&connections[i]);
    }
    uint64_t start = now_ns(CLOCK_MONOTONIC), end = start + (uint64_t)seconds * 1000000000u, now = start;
    for (int i = 0; i < count; i++)
        fill(&connections[i]);
    while ((now = now_ns(CLOCK_MONOTONIC)) < end) {
        struct epoll_event events[256];
        int n = epoll_wait(poller, events, 256, 100);
        for (int i = 0; i < n; i++) {
            take(events[i].data.ptr);
            fill(events[i].data.ptr);
        }
    }
    double took = (double)(now - start) / 1e9;
    printf("rate=%.0f p50_us=%.1f p99_us=%.1f matched=%llu connects=%llu seconds=%.3f cpu_s=%.3f\n", (double)matched / took,
           percentile_us(&times, 50), percentile_us(&times, 99), (unsigned long long)matched,
           (unsigned long long)connects, took, cpu_seconds());
    return 0;
}
