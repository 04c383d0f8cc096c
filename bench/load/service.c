/* An HTTP/1.1 service on loopback that reads request bodies to their end, and may behave badly.
 *
 * Invariants: in every mode it costs so little that what is measured is the proxy in front of it
 * (bodies are thrown away in the kernel); and it counts each request that has arrived in full.
 *
 *   service PORT MODE COUNTER
 *
 *   answer     207 bytes, at once
 *   hole       accepts connections, and reads nothing
 *   mute       reads, and never answers
 *   slow       answers after a second
 *   drip       the head of an answer at once, its body a byte a second
 *   reset      a request is answered by a reset of the connection
 *   huge       answers of 10 MB
 *
 * COUNTER is a file whose first 8 bytes are the count of requests, in the machine's byte order.
 * Requests need a Content-Length, or have no body.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { HEAD = 16384, SHORT = 207, HUGE_BODY = 10 << 20, SECOND = 1000 };
enum mode { ANSWER, HOLE, MUTE, SLOW, DRIP, RESET, HUGE };
static const char *const modes[] = {"answer", "hole", "mute", "slow", "drip", "reset", "huge"};

struct connection {
    int fd;
    int waiting;             /* is in the list of those that have something due */
    int64_t at;              /* when that is, in milliseconds */
    struct connection *next; /* in that list */
    size_t have;             /* bytes of the request's head */
    size_t body;             /* bytes of its body to come; counts only once the head is complete */
    int in_body;
    long owed;               /* requests whose answers have not begun */
    const char *out;         /* what is to be written, and how much of it */
    size_t out_left;
    char head[HEAD + 1];
};

static enum mode mode;
static int poller;
static volatile uint64_t *counter;
static struct connection *first, *last; /* all wait equally long: the list is in order of time */
static char *answer, *huge;
static size_t answer_size, huge_size, answer_head;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static char *make_answer(size_t body, size_t *size, size_t *head) {
    char *made = malloc(body + 200);
    if (!made) exit(1);
    *head = (size_t)sprintf(made, "HTTP/1.1 200 OK\r\nServer: service\r\nContent-Type: text/plain\r\n"
                                  "Content-Length: %zu\r\nConnection: keep-alive\r\n\r\n", body);
    memset(made + *head, 'x', body);
    *size = *head + body;
    return made;
}

static void wait_a_second(struct connection *c) {
    c->waiting = 1;
    c->at = now() + SECOND;
    c->next = NULL;
    if (first) last->next = c; else first = c;
    last = c;
}

static void finish(struct connection *c) { /* freed by the list, if it is in it */
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    if (!c->waiting) free(c);
}

static int write_more(struct connection *c) { /* 0: the connection is gone */
    while (c->out_left) {
        ssize_t n = send(c->fd, c->out, c->out_left, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) return 1;
        if (n < 0) {
            finish(c);
            return 0;
        }
        c->out += n;
        c->out_left -= (size_t)n;
    }
    return 1;
}

static int respond(struct connection *c) { /* 0: the connection is gone */
    struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    while (write_more(c)) {
        if (c->out_left || c->waiting || !c->owed) return 1;
        c->owed--;
        switch (mode) {
        case DRIP:
            c->out = answer, c->out_left = answer_head; /* fall through */
        case SLOW:
            wait_a_second(c);
            break;
        case RESET:
            setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
            finish(c);
            return 0;
        case HUGE:
            c->out = huge, c->out_left = huge_size;
            break;
        case ANSWER:
            c->out = answer, c->out_left = answer_size;
            break;
        default:
            return 1;
        }
    }
    return 0;
}

static int arrived(struct connection *c) {
    ++*counter;
    c->owed++;
    return respond(c);
}

static int read_head(struct connection *c, size_t n) { /* 0: the connection is gone */
    char *end, *field;
    c->have += n;
    c->head[c->have] = 0;
    while ((end = strstr(c->head, "\r\n\r\n"))) {
        size_t size = (size_t)(end + 4 - c->head), rest = c->have - size;
        *end = 0;
        field = strcasestr(c->head, "\r\ncontent-length:");
        size_t body = field ? strtoul(field + 17, NULL, 10) : 0;
        size_t here = body < rest ? body : rest;
        memmove(c->head, c->head + size + here, rest - here);
        c->have = rest - here;
        c->head[c->have] = 0;
        c->body = body - here;
        if ((c->in_body = c->body > 0)) return 1;
        if (!arrived(c)) return 0;
    }
    return c->have < HEAD || (finish(c), 0);
}

static void read_more(struct connection *c) {
    for (;;) { /* MSG_TRUNC: the kernel throws a body away without copying it */
        ssize_t n = c->in_body ? recv(c->fd, NULL, c->body, MSG_TRUNC)
                               : recv(c->fd, c->head + c->have, HEAD - c->have, 0);
        if (n < 0 && errno == EAGAIN) return;
        if (n <= 0) {
            finish(c);
            return;
        }
        if (!c->in_body) {
            if (!read_head(c, (size_t)n)) return;
        } else if (!(c->body -= (size_t)n)) {
            c->in_body = 0;
            if (!arrived(c)) return;
        }
    }
}

static void run_due(void) {
    struct connection *c;
    while ((c = first) && c->at <= now()) {
        first = c->next;
        c->waiting = 0;
        if (c->fd < 0) {
            free(c);
            continue;
        }
        if (mode == SLOW) {
            c->out = answer, c->out_left = answer_size;
        } else if (c->out < answer + answer_size) {
            wait_a_second(c);
            c->out_left = 1;
        }
        respond(c);
    }
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (mode == HOLE) continue;
        struct connection *c = calloc(1, sizeof *c);
        if (!c) exit(1);
        c->fd = fd;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int argc, char **argv) {
    struct sockaddr_in address = {.sin_family = AF_INET};
    struct epoll_event event = {.events = EPOLLIN}, events[256];
    int one = 1, file, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (argc != 4) return 2;
    while (strcmp(modes[mode], argv[2])) if (++mode > HUGE) return 2;
    file = open(argv[3], O_RDWR | O_CREAT, 0600);
    if (file < 0 || ftruncate(file, 8)) return 1;
    counter = mmap(NULL, 8, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    answer = make_answer(SHORT, &answer_size, &answer_head);
    huge = make_answer(HUGE_BODY, &huge_size, &(size_t){0});
    address.sin_port = htons((uint16_t)atoi(argv[1]));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (counter == MAP_FAILED || bind(listener, (struct sockaddr *)&address, sizeof address) ||
        listen(listener, 4096)) return 1;
    poller = epoll_create1(0);
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int64_t left = first ? first->at - now() : -1;
        int n = epoll_wait(poller, events, 256, first && left < 0 ? 0 : (int)left);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (!c) accept_all(listener);
            else if (respond(c)) read_more(c);
        }
        run_due();
    }
}
