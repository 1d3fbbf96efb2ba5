/* A mock upstream that costs little beside what is measured: one thread, epoll, no allocation per chunk.
 *
 *   upstream        serves on a free port of 127.0.0.1, prints the port, ends when its standard input does
 *
 * The model of a request says what it answers: "mock-0-0" a JSON reply, "mock-CHUNKS-GAP" a stream of that
 * many chunks, GAP milliseconds apart, each an HTTP chunk and a send of its own. A chunk says in
 * system_fingerprint at which nanosecond it was sent; all chunks are equally long, so that a whole stream
 * has the same number of bytes each time.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { MOST_FDS = 65536, EVENTS = 256, ROOM = 4096, LONGEST_LIFE = 4 * 3600 };

struct conn {
    int fd;
    char *in;             /* the request, as far as it came */
    size_t length, capacity;
    char out[ROOM];       /* what the socket did not take yet; at most one event */
    size_t out_length, out_sent;
    int left;             /* events of the stream that are still to be sent; 0: no stream */
    int chunks;
    size_t asked;         /* bytes of the request's body */
    uint64_t gap, due;    /* nanoseconds */
    struct conn *earlier, *later; /* streams by the time of their next event */
    int listed;
};

static struct conn *conns[MOST_FDS];
static struct conn *first, *last;
static int epoll;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void unlist(struct conn *c) {
    if (!c->listed) return;
    if (c->earlier) c->earlier->later = c->later; else first = c->later;
    if (c->later) c->later->earlier = c->earlier; else last = c->earlier;
    c->listed = 0;
}

/* From the end: all streams of one work have the same gap, so this is nearly always the place. */
static void list(struct conn *c) {
    struct conn *before = last;
    while (before && before->due > c->due) before = before->earlier;
    c->earlier = before;
    c->later = before ? before->later : first;
    if (c->later) c->later->earlier = c; else last = c;
    if (before) before->later = c; else first = c;
    c->listed = 1;
}

static void drop(struct conn *c) {
    unlist(c);
    close(c->fd);
    conns[c->fd] = NULL;
    free(c->in);
    free(c);
}

static void watch(struct conn *c, uint32_t events) {
    struct epoll_event event = {.events = events, .data.fd = c->fd};
    epoll_ctl(epoll, EPOLL_CTL_MOD, c->fd, &event);
}

/* Sends, and keeps what the socket does not take. Returns 0 if the connection is gone. */
static int put(struct conn *c, const char *data, size_t length) {
    ssize_t sent = send(c->fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) return drop(c), 0;
    if (sent < 0) sent = 0;
    if ((size_t)sent < length) {
        c->out_length = length - (size_t)sent;
        c->out_sent = 0;
        memcpy(c->out, data + sent, c->out_length);
        watch(c, EPOLLIN | EPOLLOUT);
    }
    return 1;
}

static void put_rest(struct conn *c) {
    ssize_t sent = send(c->fd, c->out + c->out_sent, c->out_length - c->out_sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) drop(c);
    if (sent < 0) return;
    c->out_sent += (size_t)sent;
    if (c->out_sent < c->out_length) return;
    c->out_length = c->out_sent = 0;
    watch(c, EPOLLIN);
    if (c->left && !c->listed) list(c); /* emit_due left it out meanwhile */
}

#define OPENING \
    "data: {\"id\":\"chatcmpl-B0123456789ABCDEFGHIJKLMNOPQR\",\"object\":\"chat.completion.chunk\"," \
    "\"created\":1763700000,\"model\":\"mock-model\",\"system_fingerprint\":\"fp_%019llu\","

/* The next event of a stream. Returns 0 if the connection is gone. */
static int emit(struct conn *c) {
    char event[1024], framed[1100];
    unsigned long long at = now();
    int n, is_last = c->left == 1;
    if (c->left > 2)
        n = snprintf(event, sizeof event, OPENING "\"choices\":[{\"index\":0,\"delta\":{%s\"content\":\" word\"},"
                     "\"logprobs\":null,\"finish_reason\":null}]}\n\n",
                     at, c->left == c->chunks + 2 ? "\"role\":\"assistant\"," : "");
    else if (c->left == 2)
        n = snprintf(event, sizeof event, OPENING "\"choices\":[{\"index\":0,\"delta\":{},\"logprobs\":null,"
                     "\"finish_reason\":\"stop\"}]}\n\n", at);
    else
        n = snprintf(event, sizeof event, OPENING "\"choices\":[],\"usage\":{\"prompt_tokens\":%8zu,"
                     "\"completion_tokens\":%6d,\"total_tokens\":%8zu}}\n\ndata: [DONE]\n\n",
                     at, c->asked / 4, c->chunks, c->asked / 4 + (size_t)c->chunks);
    n = snprintf(framed, sizeof framed, "%x\r\n%s\r\n%s", n, event, is_last ? "0\r\n\r\n" : "");
    c->left--;
    return put(c, framed, (size_t)n);
}

static int answer(struct conn *c, const char *status, const char *type, const char *body) {
    char whole[ROOM];
    int n = snprintf(whole, sizeof whole, "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n%s",
                     status, type, strlen(body), body);
    return put(c, whole, (size_t)n);
}

static int reply(struct conn *c) {
    char body[2048];
    snprintf(body, sizeof body,
             "{\"id\":\"chatcmpl-B0123456789ABCDEFGHIJKLMNOPQR\",\"object\":\"chat.completion\","
             "\"created\":1763700000,\"model\":\"mock-model\",\"choices\":[{\"index\":0,\"message\":"
             "{\"role\":\"assistant\",\"content\":\"" REPLY "\",\"refusal\":null},\"logprobs\":null,"
             "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%8zu,\"completion_tokens\":96,"
             "\"total_tokens\":%8zu},\"system_fingerprint\":\"fp_0123456789\"}",
             c->asked / 4, c->asked / 4 + 96);
    return answer(c, "200 OK", "application/json", body);
}

/* Answers a whole request. Returns 0 if the connection is gone. */
static int handle(struct conn *c, const char *head, const char *body, size_t length) {
    static const char start[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n"
                                "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
    if (strncmp(head, "POST", 4) != 0) {
        int models = strncmp(head, "GET /v1/models ", 15) == 0;
        return answer(c, models ? "200 OK" : "404 Not Found", "application/json",
                      models ? "{\"object\":\"list\",\"data\":[]}" : "{\"error\":{\"message\":\"no such thing\"}}");
    }
    int chunks = 0, gap = 0;
    /* It stands in front, unless somebody wrote the body anew. */
    const char *model = memmem(body, length < 256 ? length : 256, "mock-", 5);
    if (!model) model = memmem(body, length, "mock-", 5);
    if (!model || sscanf(model, "mock-%d-%d", &chunks, &gap) != 2)
        return answer(c, "400 Bad Request", "application/json", "{\"error\":{\"message\":\"which model?\"}}");
    c->asked = length;
    if (chunks == 0) return reply(c);
    c->chunks = chunks;
    c->left = chunks + 2;
    c->gap = (uint64_t)gap * 1000000u;
    c->due = now();
    list(c);
    return put(c, start, sizeof start - 1);
}

/* Reads what came and answers if that was all of a request. */
static void receive(struct conn *c) {
    if (c->capacity - c->length < ROOM) {
        c->capacity = c->capacity * 2 + 2 * ROOM;
        c->in = realloc(c->in, c->capacity + 1);
        if (!c->in) exit(1);
    }
    ssize_t got = recv(c->fd, c->in + c->length, c->capacity - c->length, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) return drop(c);
    c->length += (size_t)got;
    c->in[c->length] = 0;
    char *end = memmem(c->in, c->length, "\r\n\r\n", 4);
    if (!end) return;
    *end = 0;
    char *header = strcasestr(c->in, "\r\ncontent-length:");
    size_t length = header ? strtoul(header + 17, NULL, 10) : 0;
    *end = '\r';
    char *body = end + 4;
    if (c->length < (size_t)(body - c->in) + length) return;
    c->length = 0; /* clients here never send two at once */
    handle(c, c->in, body, length);
}

static void accept_all(int listener) {
    int one = 1;
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
        if (fd >= MOST_FDS) { close(fd); continue; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        conns[fd] = calloc(1, sizeof *conns[fd]);
        if (!conns[fd]) exit(1);
        conns[fd]->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

/* One event of each stream whose time has come, unless the one before it still waits for its reader. */
static void emit_due(void) {
    uint64_t at = now();
    struct conn *end = last;
    for (struct conn *c = first, *next; c && c->due <= at; c = next) {
        next = c == end ? NULL : c->later;
        if (c->out_length) { unlist(c); continue; }
        if (!emit(c)) continue;
        unlist(c);
        if (!c->left) continue;
        c->due += c->gap;
        if (c->due < at) c->due = at;
        list(c);
    }
}

static int listen_somewhere(void) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    if (bind(listener, (void *)&address, size) || listen(listener, 4096) ||
        getsockname(listener, (void *)&address, &size)) {
        perror("upstream");
        exit(1);
    }
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    return listener;
}

int main(void) {
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    alarm(LONGEST_LIFE);
    int listener = listen_somewhere();
    epoll = epoll_create1(0);
    struct epoll_event events[EVENTS], on_listener = {.events = EPOLLIN, .data.fd = listener},
                       on_input = {.events = EPOLLIN, .data.fd = 0};
    epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &on_listener);
    epoll_ctl(epoll, EPOLL_CTL_ADD, 0, &on_input);
    for (;;) {
        struct timespec wait = {0, 0}, *until = first ? &wait : NULL;
        uint64_t at = first ? now() : 0;
        if (first && first->due > at) {
            wait.tv_sec = (time_t)((first->due - at) / 1000000000u);
            wait.tv_nsec = (long)((first->due - at) % 1000000000u);
        }
        int n = epoll_pwait2(epoll, events, EVENTS, until, NULL);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == 0) return 0; /* whoever started it is gone */
            if (fd == listener) accept_all(listener);
            else if (conns[fd] && conns[fd]->out_length && (events[i].events & EPOLLOUT)) put_rest(conns[fd]);
            else if (conns[fd]) receive(conns[fd]);
        }
        emit_due();
    }
}
