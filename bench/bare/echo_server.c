/* The bare responder: one thread, epoll, a unique id for every request.
 *
 *   echo_server [-f FIRST_PORT] [-n PORTS] [-l LIMIT]
 *
 * FIRST_PORT 0 (the default) finds free ports; the first line on stdout names them: FIRST-LAST. After LIMIT answers a
 * connection is closed (0: never). SIGTERM ends it and prints what was answered.
 */
#include "bare.h"

/* OUT holds the answers to all that fits into IN, so that nothing whole is ever left unanswered in IN. */
enum { IN = 1 << 16, OUT = IN / HEADER * (HEADER + ID_MAX) + HEADER + ID_MAX };

struct connection {
    int fd;
    struct ids *ids;
    uint64_t answered;
    int waits, finished;
    size_t in_length, out_length, out_sent;
    unsigned char in[IN], out[OUT];
};

static int poller;
static uint64_t limit, answered, accepted;

static void watch(int fd, void *what, uint32_t events, int how)
{
    struct epoll_event event = {.events = events, .data.ptr = what};
    if (epoll_ctl(poller, how, fd, &event))
        die("cannot watch a socket: %s", strerror(errno));
}

static void drop(struct connection *c)
{
    close(c->fd);
    free(c);
}

/* Answers what is whole in `in`. Returns 0 for a frame that cannot be. */
static int answer(struct connection *c)
{
    size_t at = 0;
    while (c->in_length - at >= HEADER && !c->finished) {
        size_t length = get_u32(c->in + at);
        if (length < 8 || length > IN - 4)
            return 0;
        if (c->in_length - at < 4 + length)
            break;
        unsigned char *out = c->out + c->out_length;
        size_t body = ids_next(c->ids, out + HEADER);
        put_header(out, body, get_u64(c->in + at + 4));
        c->out_length += HEADER + body;
        at += 4 + length;
        answered++;
        c->finished = ++c->answered == limit;
    }
    memmove(c->in, c->in + at, c->in_length - at);
    c->in_length -= at;
    return 1;
}

/* Returns 0 when the connection is gone. */
static int flush_out(struct connection *c)
{
    while (c->out_sent < c->out_length) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_length - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            return 0;
        c->out_sent += (size_t)n;
    }
    int waits = c->out_sent < c->out_length;
    if (!waits) {
        c->out_sent = c->out_length = 0;
        if (c->finished)
            shutdown(c->fd, SHUT_WR);
    }
    if (waits != c->waits) {
        c->waits = waits;
        watch(c->fd, c, waits ? EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
    }
    return 1;
}

/* Returns 0 when the connection is gone. */
static int serve(struct connection *c)
{
    if (c->waits)
        return flush_out(c);
    ssize_t n = recv(c->fd, c->in + c->in_length, IN - c->in_length, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR;
    if (n == 0)
        return 0;
    c->in_length += (size_t)n;
    if (c->finished) {
        c->in_length = 0;
        return 1;
    }
    return answer(c) && flush_out(c);
}

struct door {
    int fd;
    struct ids ids;
};

static struct door doors[MAX_PORTS];

static void accept_all(struct door *door)
{
    int fd;
    while ((fd = accept4(door->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct connection *c = malloc(sizeof *c);
        if (!c)
            die("out of memory");
        memset(c, 0, offsetof(struct connection, in));
        c->fd = fd;
        c->ids = &door->ids;
        no_delay(fd);
        watch(fd, c, EPOLLIN, EPOLL_CTL_ADD);
        accepted++;
    }
}

int main(int argc, char **argv)
{
    int first = 0, ports = 10, option, fds[MAX_PORTS];
    while ((option = getopt(argc, argv, "f:n:l:")) != -1) {
        if (option == 'f')
            first = (int)number(optarg, "FIRST_PORT", 0, 65535);
        else if (option == 'n')
            ports = (int)number(optarg, "PORTS", 1, MAX_PORTS);
        else if (option == 'l')
            limit = (uint64_t)number(optarg, "LIMIT", 0, INT32_MAX);
        else
            die("usage: echo_server [-f FIRST_PORT] [-n PORTS] [-l LIMIT]");
    }
    stop_on_signals();
    uint64_t instance;
    if (getrandom(&instance, sizeof instance, 0) != sizeof instance)
        die("no random numbers");
    poller = epoll_create1(EPOLL_CLOEXEC);
    int base = listen_on_all(first, ports, fds);
    for (int i = 0; i < ports; i++) {
        doors[i].fd = fds[i];
        ids_start(&doors[i].ids, instance, base + i);
        watch(fds[i], &doors[i], EPOLLIN, EPOLL_CTL_ADD);
    }
    while (!stopped) {
        struct epoll_event events[256];
        int n = epoll_wait(poller, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct door *door = events[i].data.ptr;
            if (door >= doors && door < doors + ports)
                accept_all(door);
            else if (!serve(events[i].data.ptr))
                drop(events[i].data.ptr);
        }
    }
    printf("answered=%llu accepted=%llu cpu_s=%.3f\n", (unsigned long long)answered, (unsigned long long)accepted,
           cpu_seconds());
    return 0;
}
