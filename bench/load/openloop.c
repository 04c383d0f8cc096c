/* An open-loop load generator for one HTTP/1.1 address on loopback.
 *
 * Requests are due at a fixed total rate, whatever becomes of those before them: request i at
 * begin + i / rate. It takes any of N kept-alive connections that is free; if none is, it waits.
 *
 * Invariants: a latency counts from when its request was due, not from when it could be sent, so
 * that a proxy that stalls pays for every request that should have come meanwhile (no coordinated
 * omission). Every request due after the warm-up ends as exactly one of: finished, failed (the
 * connection broke, or the answer was no 2xx), unanswered. The last count in the percentiles with
 * their age at the end; those that failed have no latency.
 *
 *   openloop PORT CONNECTIONS RATE WARMUP SECONDS GRACE FILE
 *
 * FILE holds the request as it is sent, body included. Answers need a Content-Length, or have no
 * body. Prints one JSON object; latencies are in microseconds.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 8192 };
enum state { DOWN, CONNECTING, FREE, BUSY };

struct connection {
    enum state state;
    int fd;
    int listed;              /* is in the list of free ones; if it is not FREE, it is passed over */
    struct connection *next; /* in that list */
    long request;            /* the one under way, while BUSY */
    size_t sent;             /* bytes of it */
    size_t have;             /* bytes of the answer's head */
    long left;               /* bytes of the answer's body to come; -1: its head is not complete */
    int status;
    char head[HEAD + 1];
};

static struct connection *connections, *first_free, *last_free;
static struct sockaddr_in address;
static char *request;
static size_t request_size;
static int poller, down;
static double rate;
static int64_t begin;
static long warm; /* so many requests are made and not counted */
static long finished, failed, reopened, sampled;
static uint32_t *samples;

static void die(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now(void) { /* nanoseconds */
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int64_t due(long i) { return begin + (int64_t)((double)i * (1e9 / rate)); }

static void sample(long i, int64_t at) {
    int64_t age = (at - due(i)) / 1000;
    if (i >= warm) samples[sampled++] = age < 0 ? 0 : age > UINT32_MAX ? UINT32_MAX : (uint32_t)age;
}

static void set_free(struct connection *c) {
    c->state = FREE;
    if (c->listed) return;
    c->listed = 1;
    c->next = NULL;
    if (first_free) last_free->next = c; else first_free = c;
    last_free = c;
}

static struct connection *take_free(void) {
    struct connection *c;
    while ((c = first_free)) {
        first_free = c->next;
        c->listed = 0;
        if (c->state == FREE) return c;
    }
    return NULL;
}

static void reach(struct connection *c) { /* EPOLLOUT says when it is connected */
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    int one = 1;
    if ((c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)) < 0) die("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->state = CONNECTING;
    if (connect(c->fd, (struct sockaddr *)&address, sizeof address) && errno != EINPROGRESS) {
        close(c->fd);
        c->state = DOWN;
        down++;
    } else if (epoll_ctl(poller, EPOLL_CTL_ADD, c->fd, &event)) die("epoll_ctl");
}

static void broken(struct connection *c) { /* opened again within a millisecond */
    if (c->state == BUSY && c->request >= warm) failed++;
    close(c->fd);
    c->state = DOWN;
    down++;
    reopened++;
}

static void write_more(struct connection *c) {
    while (c->sent < request_size) {
        ssize_t n = send(c->fd, request + c->sent, request_size - c->sent, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN) broken(c);
            return;
        }
        c->sent += (size_t)n;
    }
}

static void start(struct connection *c, long i) {
    c->state = BUSY;
    c->request = i;
    c->sent = c->have = 0;
    c->left = -1;
    write_more(c);
}

static int read_head(struct connection *c, size_t n) { /* -1: not one that is understood */
    char *end, *field;
    c->have += n;
    c->head[c->have] = 0;
    if (!(end = strstr(c->head, "\r\n\r\n"))) return c->have < HEAD ? 0 : -1;
    if (sscanf(c->head, "HTTP/1.%*d %d", &c->status) != 1) return -1;
    end[2] = 0;
    field = strcasestr(c->head, "\r\ncontent-length:");
    if (!field && c->status != 204) return -1;
    c->left = (field ? atol(field + 17) : 0) - (long)(c->head + c->have - end - 4);
    return c->left < 0 ? -1 : 0;
}

static void read_more(struct connection *c) {
    static char body[1 << 16];
    while (c->state == BUSY || c->state == FREE) {
        int in_head = c->state == BUSY && c->left < 0;
        ssize_t n = in_head ? recv(c->fd, c->head + c->have, HEAD - c->have, 0)
                            : recv(c->fd, body, sizeof body, 0);
        if (n < 0 && errno == EAGAIN) return;
        /* Closed, or an answer that was not asked for. */
        if (n <= 0 || c->state == FREE || (in_head && read_head(c, (size_t)n))) {
            broken(c);
            return;
        }
        if (!in_head) c->left -= n;
        if (c->left == 0) {
            sample(c->request, now());
            if (c->request >= warm) {
                if (c->status / 100 == 2) finished++;
                else failed++, sampled--;
            }
            if (c->sent < request_size) broken(c); /* answered before it was read */
            else set_free(c);
            return;
        }
    }
}

static void handle(struct connection *c, uint32_t events) {
    if (c->state == CONNECTING) {
        if (events & (EPOLLERR | EPOLLHUP)) broken(c);
        else if (events & EPOLLOUT) set_free(c);
        return;
    }
    if (c->state == BUSY && events & EPOLLOUT) write_more(c);
    if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) read_more(c);
}

static void wait_until(int64_t at) { /* to the microsecond, which epoll_wait cannot */
    int64_t left = at - now();
    struct timespec t = {.tv_sec = left / 1000000000, .tv_nsec = left % 1000000000};
    struct pollfd one = {.fd = poller, .events = POLLIN};
    if (left > 0) ppoll(&one, 1, &t, NULL);
}

static void handle_events(void) {
    struct epoll_event events[256];
    int n = epoll_wait(poller, events, 256, 0);
    for (int i = 0; i < n; i++) handle(events[i].data.ptr, events[i].events);
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END)) die(path);
    request_size = (size_t)ftell(file);
    rewind(file);
    request = malloc(request_size);
    if (!request || fread(request, 1, request_size, file) != request_size) die(path);
    fclose(file);
}

static int by_size(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static uint32_t quantile(double q) {
    long at = (long)(q * (double)sampled);
    return sampled ? samples[at < sampled ? at : sampled - 1] : 0;
}

int main(int argc, char **argv) {
    if (argc != 8) die("openloop PORT CONNECTIONS RATE WARMUP SECONDS GRACE FILE");
    long count = atol(argv[2]), next = 0;
    address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1]))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    rate = atof(argv[3]);
    warm = (long)(rate * atof(argv[4]));
    long total = warm + (long)(rate * atof(argv[5]));
    int64_t grace = (int64_t)(atof(argv[6]) * 1e9), end, last_reach = 0;
    read_request(argv[7]);
    prctl(PR_SET_TIMERSLACK, 1);
    poller = epoll_create1(0);
    connections = calloc((size_t)count, sizeof *connections);
    samples = calloc((size_t)total + 1, sizeof *samples);
    if (!connections || !samples) die("memory");
    for (long i = 0; i < count; i++) reach(&connections[i]);
    int64_t opened = now();
    for (long open = 0; open < count && now() < opened + 2000000000;) { /* all, if they can be */
        wait_until(now() + 1000000);
        handle_events();
        for (long i = open = 0; i < count; i++) open += connections[i].state == FREE;
    }
    begin = now();
    end = due(total) + grace;
    for (int64_t at; (at = now()) < end && !(next == total && finished + failed == total - warm);) {
        struct connection *c;
        while (next < total && due(next) <= at && (c = take_free())) start(c, next++);
        if (down && at > last_reach + 1000000) {
            last_reach = at;
            down = 0;
            for (long i = 0; i < count; i++)
                if (connections[i].state == DOWN) reach(&connections[i]);
        }
        int64_t until = next < total && first_free ? due(next) : at + 1000000;
        wait_until(until < end ? until : end);
        handle_events();
    }
    int64_t at = now();
    for (long i = 0; i < count; i++)
        if (connections[i].state == BUSY) sample(connections[i].request, at);
    for (long i = next; i < total; i++) sample(i, at);
    qsort(samples, (size_t)sampled, sizeof *samples, by_size);
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    double cpu = (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec) +
                 (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec) / 1e6;
    printf("{\"due\": %ld, \"finished\": %ld, \"failed\": %ld, \"unanswered\": %ld, "
           "\"reopened\": %ld, \"p50\": %u, \"p90\": %u, \"p99\": %u, \"p999\": %u, \"max\": %u, "
           "\"cpu\": %.3f}\n",
           total - warm, finished, failed, total - warm - finished - failed, reopened,
           quantile(.5), quantile(.9), quantile(.99), quantile(.999), quantile(1), cpu);
    return 0;
}
