/* The whole job, bare: one thread, epoll, closed loop, with the records of a Redis and the answers written back to it.
 *
 *   job -p FIRST-LAST -r REDIS_PORT -n RECORDS [-c CONNECTIONS] [-w WINDOW] [-l LIMIT] [-d SECONDS] [-m]
 *
 * Records `record:1` to `record:RECORDS` are read ahead by MGET, a hundred at a time, over one connection, and sent in turn. Each connection
 * keeps WINDOW of them in flight and is replaced after LIMIT (0: never). With -m, answers are written to `response:record:N` by
 * MSET, a hundred at a time, over the same connection to Redis; it ends when the last one is written. Prints one line.
 */
#include "bare.h"

enum {
    IN = 1 << 16,
    MAX_WINDOW = 1024,
    MAX_CONNECTIONS = 10000,
    BATCH = 100,
    AHEAD = 8192,  /* records; a power of two */
    VALUE = 1024,  /* the longest of them */
    REDIS_IN = 1 << 20,
    REDIS_OUT = 1 << 20,
    OWED = 4096,   /* replies; a power of two */
};

struct connection {
    int fd, port;
    uint64_t sent, received;
    size_t in_length;
    uint64_t sent_at[MAX_WINDOW], ids[MAX_WINDOW], records[MAX_WINDOW];
    unsigned char in[IN];
};

struct record {
    uint64_t number;
    size_t length;
    char value[VALUE];
};

static int poller, window = 16, mapping;
static uint64_t limit = 100, next_id, matched, connects, count_of_records;
static struct histogram times;
static unsigned char *out;

/* Read from `taken` to `there`; asked for up to `asked`. */
static struct record ahead[AHEAD];
static uint64_t taken, there, asked;
/* Some connection could send more than there is. */
static int hungry = 1;

static int redis;
static char redis_in[REDIS_IN], redis_out[REDIS_OUT], pairs[BATCH * (ID_MAX + 96)];
static size_t redis_in_length, redis_out_length, redis_out_sent, pairs_length;
static int pairs_count, redis_waits;
/* What the replies that are owed are to: the number of values, or 0 for a simple OK. */
static int owed[OWED];
static uint64_t owed_first, owed_last;

static void watch(int fd, void *what, uint32_t events, int how)
{
    struct epoll_event event = {.events = events, .data.ptr = what};
    if (epoll_ctl(poller, how, fd, &event))
        die("cannot watch a socket: %s", strerror(errno));
}

static size_t redis_room(void)
{
    return REDIS_OUT - redis_out_length;
}

static void redis_write(void)
{
    while (redis_out_sent < redis_out_length) {
        ssize_t n = send(redis, redis_out + redis_out_sent, redis_out_length - redis_out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n < 0)
            die("Redis is gone: %s", strerror(errno));
        redis_out_sent += (size_t)n;
    }
    if (redis_out_sent == redis_out_length)
        redis_out_sent = redis_out_length = 0;
    int waits = redis_out_length > 0;
    if (waits != redis_waits)
        watch(redis, NULL, waits ? EPOLLIN | EPOLLOUT : EPOLLIN, EPOLL_CTL_MOD);
    redis_waits = waits;
}

static void owe(int values)
{
    if (owed_last - owed_first == OWED)
        die("Redis does not answer");
    owed[owed_last++ % OWED] = values;
}

static void ask(void)
{
    while (AHEAD - (asked - taken) >= BATCH && redis_room() > BATCH * 48) {
        redis_out_length += (size_t)sprintf(redis_out + redis_out_length, "*%d\r\n$4\r\nMGET\r\n", BATCH + 1);
        for (int i = 0; i < BATCH; i++, asked++) {
            char key[48];
            int n = sprintf(key, "record:%llu", (unsigned long long)(asked % count_of_records + 1));
            redis_out_length += (size_t)sprintf(redis_out + redis_out_length, "$%d\r\n%s\r\n", n, key);
        }
        owe(BATCH);
    }
}

static void write_back(void)
{
    if (!pairs_count)
        return;
    if (redis_room() < pairs_length + 64)
        die("Redis does not keep up");
    redis_out_length += (size_t)sprintf(redis_out + redis_out_length, "*%d\r\n$4\r\nMSET\r\n", 2 * pairs_count + 1);
    memcpy(redis_out + redis_out_length, pairs, pairs_length);
    redis_out_length += pairs_length;
    pairs_length = 0;
    pairs_count = 0;
    owe(0);
}

static void map(uint64_t record_number, const unsigned char *id, size_t length)
{
    char key[48];
    int n = sprintf(key, "response:record:%llu", (unsigned long long)record_number);
    pairs_length += (size_t)sprintf(pairs + pairs_length, "$%d\r\n%s\r\n$%zu\r\n", n, key, length);
    memcpy(pairs + pairs_length, id, length);
    memcpy(pairs + pairs_length + length, "\r\n", 2);
    pairs_length += length + 2;
    if (++pairs_count == BATCH)
        write_back();
}

/* The end of a whole line at `at`, or 0. */
static size_t line_end(size_t at)
{
    char *end = memchr(redis_in + at, '\n', redis_in_length - at);
    return end ? (size_t)(end - redis_in) + 1 : 0;
}

/* One reply that is whole, from `at` on. Returns where the next one begins, or 0. */
static size_t reply(size_t at)
{
    int values = owed[owed_first % OWED];
    size_t next = line_end(at);
    if (!next)
        return 0;
    if (!values) {
        if (redis_in[at] != '+')
            die("Redis says %.*s", (int)(next - at), redis_in + at);
        return next;
    }
    if (redis_in[at] != '*' || atoi(redis_in + at + 1) != values)
        die("Redis says %.*s", (int)(next - at), redis_in + at);
    uint64_t to = there;
    for (int i = 0; i < values; i++, to++) {
        size_t value = line_end(next);
        if (!value)
            return 0;
        int length = atoi(redis_in + next + 1);
        if (redis_in[next] != '$' || length < 0 || length > VALUE)
            die("there is no record %llu that can be sent", (unsigned long long)(to % count_of_records + 1));
        next = value + (size_t)length + 2;
        if (next > redis_in_length)
            return 0;
        struct record *record = &ahead[to % AHEAD];
        record->number = to % count_of_records + 1;
        record->length = (size_t)length;
        memcpy(record->value, redis_in + value, (size_t)length);
    }
    there = to;
    return next;
}

static void redis_read(void)
{
    ssize_t n = recv(redis, redis_in + redis_in_length, REDIS_IN - redis_in_length, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        die("Redis is gone");
    redis_in_length += (size_t)n;
    size_t at = 0, next;
    while (owed_first < owed_last && (next = reply(at))) {
        at = next;
        owed_first++;
    }
    memmove(redis_in, redis_in + at, redis_in_length - at);
    redis_in_length -= at;
}

static void dial(struct connection *c)
{
    c->fd = connect_to(c->port);
    c->sent = c->received = c->in_length = 0;
    watch(c->fd, c, EPOLLIN, EPOLL_CTL_ADD);
    connects++;
}

/* Fills the window with what has been read ahead, all with one write. */
static void fill(struct connection *c)
{
    uint64_t room = (uint64_t)window - (c->sent - c->received);
    if (limit && room > limit - c->sent)
        room = limit - c->sent;
    if (room > there - taken) {
        room = there - taken;
        hungry = 1;
    }
    if (!room)
        return;
    uint64_t now = now_ns(CLOCK_MONOTONIC);
    size_t length = 0;
    for (uint64_t i = 0; i < room; i++, c->sent++, taken++) {
        unsigned slot = (unsigned)(c->sent % (uint64_t)window);
        const struct record *record = &ahead[taken % AHEAD];
        c->sent_at[slot] = now;
        c->ids[slot] = next_id;
        c->records[slot] = record->number;
        put_header(out + length, record->length, next_id++);
        memcpy(out + length + HEADER, record->value, record->length);
        length += HEADER + record->length;
    }
    if (!write_all(c->fd, out, length))
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
        if (length < 8 || length > 8 + ID_MAX)
            die("a frame of %zu bytes", length);
        if (c->in_length - at < 4 + length)
            break;
        unsigned slot = (unsigned)(c->received % (uint64_t)window);
        if (c->received == c->sent || get_u64(c->in + at + 4) != c->ids[slot])
            die("an answer to another request than the oldest");
        record(&times, now - c->sent_at[slot]);
        if (mapping)
            map(c->records[slot], c->in + at + HEADER, length - 8);
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
    int first = 0, ports = 0, redis_port = 0, count = 10, seconds = 5, option;
    while ((option = getopt(argc, argv, "p:r:n:c:w:l:d:m")) != -1) {
        if (option == 'p')
            port_range(optarg, &first, &ports);
        else if (option == 'r')
            redis_port = (int)number(optarg, "REDIS_PORT", 1, 65535);
        else if (option == 'n')
            count_of_records = (uint64_t)number(optarg, "RECORDS", 1, INT32_MAX);
        else if (option == 'c')
            count = (int)number(optarg, "CONNECTIONS", 1, MAX_CONNECTIONS);
        else if (option == 'w')
            window = (int)number(optarg, "WINDOW", 1, MAX_WINDOW);
        else if (option == 'l')
            limit = (uint64_t)number(optarg, "LIMIT", 0, INT32_MAX);
        else if (option == 'd')
            seconds = (int)number(optarg, "SECONDS", 1, 3600);
        else if (option == 'm')
            mapping = 1;
        else
            ports = -1;
    }
    if (ports < 1 || !redis_port || !count_of_records)
        die("usage: job -p FIRST-LAST -r REDIS_PORT -n RECORDS [-c CONNECTIONS] [-w WINDOW] [-l LIMIT] [-d SECONDS] [-m]");
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct connection *connections = calloc((size_t)count, sizeof *connections);
    out = malloc((size_t)window * (HEADER + VALUE));
    if (!connections || !out)
        die("out of memory");
    redis = connect_to(redis_port);
    watch(redis, NULL, EPOLLIN, EPOLL_CTL_ADD);
    for (int i = 0; i < count; i++) {
        connections[i].port = first + i % ports;
        dial(&connections[i]);
    }
    uint64_t start = now_ns(CLOCK_MONOTONIC), end = start + (uint64_t)seconds * 1000000000u, now = start;
    int over = 0;
    while (!over || owed_first < owed_last) {
        if (!over)
            ask();
        redis_write();
        struct epoll_event events[256];
        int n = epoll_wait(poller, events, 256, 100);
        for (int i = 0; i < n; i++) {
            if (!events[i].data.ptr) {
                redis_read();
            } else if (!over) {
                take(events[i].data.ptr);
                fill(events[i].data.ptr);
            }
        }
        if (hungry && there != taken) {
            hungry = 0;
            for (int i = 0; i < count && !over; i++)
                fill(&connections[i]);
        }
        now = now_ns(CLOCK_MONOTONIC);
        if (!over && now >= end) {
            over = 1;
            write_back();
        }
    }
    double took = (double)(now - start) / 1e9;
    printf("rate=%.0f p50_us=%.1f p99_us=%.1f matched=%llu connects=%llu seconds=%.3f cpu_s=%.3f\n", (double)matched / took,
           percentile_us(&times, 50), percentile_us(&times, 99), (unsigned long long)matched,
           (unsigned long long)connects, took, cpu_seconds());
    return 0;
}
