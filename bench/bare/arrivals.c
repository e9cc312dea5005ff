/* A sink that stamps each request's arrival and answers it: one thread, epoll.
 *
 *   arrivals -o FILE [-f FIRST_PORT] [-n PORTS] [-H]
 *
 * With -H requests are those of HTTP without a body, one a segment, and get numbers as they come: for tools that speak nothing else.
 *
 * The stamp is the kernel's, taken when the segment arrived, so the sink's own waking up does not count; what had none is
 * stamped when it was read, and counted. Each request is read alone, because a read over two segments gives one stamp only.
 * SIGTERM ends it and writes FILE: a line `<request id> <ns of CLOCK_REALTIME>` for each request.
 */
#include "bare.h"
#include <linux/errqueue.h>
#include <linux/net_tstamp.h>

struct connection {
    int fd;
    struct ids *ids;
    uint64_t at;
    size_t have;
    unsigned char frame[MAX_FRAME];
};

struct door {
    int fd;
    struct ids ids;
};

struct arrival {
    uint64_t id, at;
};

static struct door doors[MAX_PORTS];
static struct arrival *arrivals;
static size_t arrived, room;
static uint64_t unstamped;
static int poller, http;

static const char OK[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

static void watch(int fd, void *what)
{
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = what};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event))
        die("cannot watch a socket: %s", strerror(errno));
}

static void note(uint64_t id, uint64_t at)
{
    if (arrived == room) {
        room *= 2;
        arrivals = realloc(arrivals, room * sizeof *arrivals);
        if (!arrivals)
            die("out of memory");
    }
    arrivals[arrived++] = (struct arrival){id, at};
}

/* Reads up to `want` bytes of the frame; the stamp is that of the last segment read, or 0. */
static ssize_t take(struct connection *c, size_t want)
{
    char control[256];
    struct iovec into = {c->frame + c->have, want - c->have};
    struct msghdr message = {.msg_iov = &into, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(c->fd, &message, 0);
    c->at = 0;
    if (n <= 0)
        return n;
    c->have += (size_t)n;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(&message); part; part = CMSG_NXTHDR(&message, part)) {
        if (part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_TIMESTAMPING) {
            struct scm_timestamping stamps;
            memcpy(&stamps, CMSG_DATA(part), sizeof stamps);
            c->at = (uint64_t)stamps.ts[0].tv_sec * 1000000000u + (uint64_t)stamps.ts[0].tv_nsec;
        }
    }
    return n;
}

/* The same for HTTP. */
static int serve_http(struct connection *c)
{
    for (;;) {
        ssize_t n = take(c, MAX_FRAME);
        if (n < 0)
            return errno == EAGAIN || errno == EINTR;
        if (n == 0 || c->have == MAX_FRAME)
            return 0;
        if (c->have < 4 || memcmp(c->frame + c->have - 4, "\r\n\r\n", 4))
            continue;
        if (!c->at) {
            c->at = now_ns(CLOCK_REALTIME);
            unstamped++;
        }
        note(arrived, c->at);
        if (!write_all(c->fd, (const unsigned char *)OK, sizeof OK - 1))
            return 0;
        c->have = 0;
    }
}

/* Reads and answers all that is there. Returns 0 when the connection is gone. */
static int serve(struct connection *c)
{
    for (;;) {
        size_t want = c->have < HEADER ? HEADER : 4 + (size_t)get_u32(c->frame);
        if (want < HEADER || want > MAX_FRAME)
            return 0;
        if (c->have < want) {
            ssize_t n = take(c, want);
            if (n < 0)
                return errno == EAGAIN || errno == EINTR;
            if (n == 0)
                return 0;
            continue;
        }
        if (!c->at) {
            c->at = now_ns(CLOCK_REALTIME);
            unstamped++;
        }
        uint64_t id = get_u64(c->frame + 4);
        note(id, c->at);
        unsigned char out[HEADER + ID_MAX];
        size_t body = ids_next(c->ids, out + HEADER);
        put_header(out, body, id);
        if (!write_all(c->fd, out, HEADER + body))
            return 0;
        c->have = 0;
    }
}

static void accept_all(struct door *door)
{
    int fd;
    while ((fd = accept4(door->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = malloc(sizeof *c);
        if (!c)
            die("out of memory");
        c->fd = fd;
        c->ids = &door->ids;
        c->have = 0;
        c->at = 0;
        no_delay(fd);
        int stamps = SOF_TIMESTAMPING_RX_SOFTWARE | SOF_TIMESTAMPING_SOFTWARE;
        setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPING, &stamps, sizeof stamps);
        watch(fd, c);
    }
}

int main(int argc, char **argv)
{
    int first = 0, ports = 10, option, fds[MAX_PORTS];
    const char *path = NULL;
    while ((option = getopt(argc, argv, "o:f:n:H")) != -1) {
        if (option == 'o')
            path = optarg;
        else if (option == 'f')
            first = (int)number(optarg, "FIRST_PORT", 0, 65535);
        else if (option == 'n')
            ports = (int)number(optarg, "PORTS", 1, MAX_PORTS);
        else if (option == 'H')
            http = 1;
        else
            path = NULL;
    }
    if (!path)
        die("usage: arrivals -o FILE [-f FIRST_PORT] [-n PORTS] [-H]");
    stop_on_signals();
    uint64_t instance;
    if (getrandom(&instance, sizeof instance, 0) != sizeof instance)
        die("no random numbers");
    room = 1 << 20;
    arrivals = malloc(room * sizeof *arrivals);
    if (!arrivals)
        die("out of memory");
    /* Touched now, so that no page is missing while stamps are taken. */
    memset(arrivals, 1, room * sizeof *arrivals);
    poller = epoll_create1(EPOLL_CLOEXEC);
    int base = listen_on_all(first, ports, fds);
    for (int i = 0; i < ports; i++) {
        doors[i].fd = fds[i];
        ids_start(&doors[i].ids, instance, base + i);
        watch(fds[i], &doors[i]);
    }
    while (!stopped) {
        struct epoll_event events[256];
        int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct door *door = events[i].data.ptr;
            struct connection *c = events[i].data.ptr;
            if (door >= doors && door < doors + ports) {
                accept_all(door);
            } else if (!(http ? serve_http(c) : serve(c))) {
                close(c->fd);
                free(c);
            }
        }
    }
    FILE *file = fopen(path, "w");
    if (!file)
        die("cannot write %s: %s", path, strerror(errno));
    for (size_t i = 0; i < arrived; i++)
        fprintf(file, "%llu %llu\n", (unsigned long long)arrivals[i].id, (unsigned long long)arrivals[i].at);
    if (fclose(file))
        die("cannot write %s: %s", path, strerror(errno));
    printf("arrived=%zu unstamped=%llu cpu_s=%.3f\n", arrived, (unsigned long long)unstamped, cpu_seconds());
    return 0;
}
