/* A load generator that costs little beside what is measured: one thread, epoll, requests sent from where
 * they lie. Closed loop: each connection asks again as soon as its reply has ended.
 *
 *   generator PORT PATH SCRIPT RUN CHATS FROM TO CONNECTIONS CHUNKS SECONDS RAMP NEW HEADER...
 *
 * PATH         /v1/chat/completions, or /v1/responses
 * SCRIPT       one line for how a chat begins, one for what each later turn adds, one for how a body ends.
 *              The id of the chat replaces CHATCHATCHATCHAT in the first line.
 * RUN CHATS    a number that makes the ids of this run's chats its own, and how many there are
 * FROM TO      the turns of each chat that are asked for, 0 is the first; a connection goes through its
 *              chats turn by turn, so that a chat's turns are never next to each other
 * CHUNKS       how many a reply must have; 0: JSON
 * SECONDS      the most that this may take
 * RAMP         milliseconds over which the connections begin
 * NEW          1: a connection for each request
 * HEADER       a line for each request; {chat}, {turn} and {before} are filled in, the last two being ids
 *              of messages ({before} is empty in the first turn)
 *
 * Prints one JSON object; times are in microseconds.
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
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { EVENTS = 256, HEAD = 16384, LINE = 1024, MOST_TURNS = 1000, ID = 16, READ = 65536 };
enum stage { WAITS, CONNECTS, SENDS, READS_HEAD, READS_BODY, DONE };
enum part { SIZE, DATA, AFTER_DATA, TRAILER }; /* of a chunked body */

struct conn {
    int fd, number;
    enum stage stage;
    uint64_t begins, asked, first;
    long step;                  /* which of its requests this is */
    char id[64], request[2048];
    struct iovec rest[5];
    int at;
    char head[HEAD + 1];
    size_t head_length;
    int closes, chunked;
    long left;                  /* of the body, or of an HTTP chunk; -1: until the end */
    enum part part;
    char line[LINE];
    size_t line_length;
    int chunks, ended;
    size_t bytes;
};

struct samples { uint32_t *values; size_t count, room; };

static int port, connections, expected, makes_new, epoll, header_count;
static long run, chats, turn_from, turn_to, requests, failed, open_now, open_most, unfinished;
static char **headers, *path, reason[512];
static char *script, *tail;
static size_t id_at, tail_length, ends[MOST_TURNS];
static struct samples firsts, latencies;
static unsigned long long chunks, bytes, fewest = UINT64_MAX, most;

static uint64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void die(const char *why) { fprintf(stderr, "generator: %s\n", why), exit(2); }

static void add(struct samples *s, uint64_t nanoseconds) {
    if (s->count == s->room)
        s->values = realloc(s->values, (s->room = s->room * 2 + 4096) * sizeof *s->values);
    if (!s->values) die("no memory");
    uint64_t tenths = nanoseconds / 100;
    s->values[s->count++] = tenths > UINT32_MAX ? UINT32_MAX : (uint32_t)tenths;
}

static int ascending(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void print_samples(const char *name, struct samples *s) {
    if (!s->count) { printf(", \"%s\": null", name); return; }
    qsort(s->values, s->count, sizeof *s->values, ascending);
    printf(", \"%s\": [%.1f, %.1f, %.1f]", name, s->values[(s->count - 1) / 2] / 10.0,
           s->values[(s->count - 1) * 99 / 100] / 10.0, s->values[s->count - 1] / 10.0);
}

static void read_script(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) die("cannot read the script");
    fseek(file, 0, SEEK_END);
    size_t length = (size_t)ftell(file), lines = 0, kept = 0;
    rewind(file);
    script = malloc(length + 1);
    if (!script || fread(script, 1, length, file) != length) die("cannot read the script");
    fclose(file);
    script[length] = 0;
    /* The lines are put together, so that the messages of a turn are one piece of memory. */
    for (char *line = script, *end; (end = strchr(line, '\n')); line = end + 1) {
        if (lines == MOST_TURNS) die("too many turns");
        tail = script + kept;
        tail_length = (size_t)(end - line);
        memmove(tail, line, tail_length);
        kept += tail_length;
        ends[lines++] = kept;
    }
    char *token = memmem(script, ends[0], "CHATCHATCHATCHAT", ID);
    if (!token || (long)lines < turn_to + 2) die("the script has no id or too few turns");
    id_at = (size_t)(token - script);
}

/* Which chat and turn the connection's next request is of. Returns 0 when it has none left. */
static int next_of(struct conn *c, long *chat, long *turn) {
    long own = chats / connections + (c->number < chats % connections);
    if (!own || c->step >= own * (turn_to - turn_from + 1)) return 0;
    *chat = c->number + c->step % own * connections;
    *turn = turn_from + c->step / own;
    return 1;
}

static size_t fill(char *out, size_t room, const char *header, const char *id, long turn) {
    size_t n = 0;
    for (const char *p = header; *p && n + 64 < room;) {
        if (!strncmp(p, "{chat}", 6)) { n += (size_t)sprintf(out + n, "%s", id); p += 6; }
        else if (!strncmp(p, "{turn}", 6)) { n += (size_t)sprintf(out + n, "%s-%03ld", id, turn); p += 6; }
        else if (!strncmp(p, "{before}", 8)) {
            if (turn) n += (size_t)sprintf(out + n, "%s-%03ld", id, turn - 1);
            p += 8;
        } else out[n++] = *p++;
    }
    memcpy(out + n, "\r\n", 2);
    return n + 2;
}

static void compose(struct conn *c, long chat, long turn) {
    size_t body = ends[turn] + tail_length, n;
    snprintf(c->id, sizeof c->id, "b%06ld-%08ld", run % 1000000, chat % 100000000);
    n = (size_t)sprintf(c->request, "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                        "Content-Type: application/json\r\nContent-Length: %zu\r\n%s",
                        path, port, body, makes_new ? "Connection: close\r\n" : "");
    for (int i = 0; i < header_count; i++)
        n += fill(c->request + n, sizeof c->request - n - 4, headers[i], c->id, turn);
    memcpy(c->request + n, "\r\n", 2);
    c->rest[0] = (struct iovec){c->request, n + 2};
    c->rest[1] = (struct iovec){script, id_at};
    c->rest[2] = (struct iovec){c->id, ID};
    c->rest[3] = (struct iovec){script + id_at + ID, ends[turn] - id_at - ID};
    c->rest[4] = (struct iovec){tail, tail_length};
    c->at = 0;
}

static void hang_up(struct conn *c) { if (c->fd >= 0) close(c->fd); c->fd = -1; }

static void watch(struct conn *c, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = c};
    epoll_ctl(epoll, operation, c->fd, &event);
}

static void ask(struct conn *c);

/* A request has ended; `why` is NULL if all was well. */
static void end(struct conn *c, const char *why) {
    char found[64];
    open_now--;
    requests++;
    c->step++;
    if (!why && expected && (c->chunks != expected || !c->ended)) {
        snprintf(found, sizeof found, "%d chunks, %s", c->chunks, c->ended ? "an end" : "no end");
        why = found;
    }
    if (why) {
        if (!failed++) snprintf(reason, sizeof reason, "%s: %.300s", why, c->line);
        hang_up(c);
    } else {
        if (c->bytes < fewest) fewest = c->bytes;
        if (c->bytes > most) most = c->bytes;
    }
    if (makes_new || c->closes) hang_up(c);
    ask(c);
}

static void send_rest(struct conn *c) {
    while (c->at < 5) {
        ssize_t sent = writev(c->fd, c->rest + c->at, 5 - c->at);
        if (sent < 0 && errno == EAGAIN) { watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT); return; }
        if (sent < 0) { end(c, "it hung up while the request was sent"); return; }
        while (c->at < 5 && (size_t)sent >= c->rest[c->at].iov_len) sent -= (ssize_t)c->rest[c->at++].iov_len;
        if (c->at == 5) break;
        c->rest[c->at].iov_base = (char *)c->rest[c->at].iov_base + sent;
        c->rest[c->at].iov_len -= (size_t)sent;
    }
    c->stage = READS_HEAD;
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void ask(struct conn *c) {
    long chat, turn;
    c->stage = DONE;
    if (!next_of(c, &chat, &turn)) { unfinished--; hang_up(c); return; }
    compose(c, chat, turn);
    c->head_length = c->line_length = c->bytes = 0;
    c->chunks = c->ended = c->closes = 0;
    c->line[0] = 0;
    c->first = 0;
    if (++open_now > open_most) open_most = open_now;
    c->asked = now();
    if (c->fd >= 0) { c->stage = SENDS; send_rest(c); return; }
    int one = 1;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) die("no socket left");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    c->stage = CONNECTS;
    watch(c, EPOLL_CTL_ADD, EPOLLOUT);
    /* What goes wrong with it is told by epoll. */
    if (connect(c->fd, (void *)&to, sizeof to) && errno != EINPROGRESS) die(strerror(errno));
}

/* A whole line of an event stream. */
static void take_line(struct conn *c, uint64_t at) {
    c->line[c->line_length] = 0;
    if (strstr(c->line, "\" word\"")) {
        char *stamp = strstr(c->line, "\"fp_");
        if (!c->first) { c->first = at; add(&firsts, at - c->asked); }
        c->chunks++;
        chunks++;
        if (stamp) {
            uint64_t sent = strtoull(stamp + 4, NULL, 10);
            add(&latencies, at > sent ? at - sent : 0);
        }
    } else if (strstr(c->line, "[DONE]") || strstr(c->line, "response.completed")) c->ended = 1;
    c->line_length = 0;
}

static void take_body(struct conn *c, const char *data, size_t n, uint64_t at) {
    c->bytes += n;
    bytes += n;
    if (n && !expected && !c->first) { c->first = at; add(&firsts, at - c->asked); }
    while (n) {
        const char *newline = memchr(data, '\n', n);
        size_t piece = newline ? (size_t)(newline - data) : n;
        size_t kept = piece < LINE - 1 - c->line_length ? piece : LINE - 1 - c->line_length;
        memcpy(c->line + c->line_length, data, kept);
        c->line_length += kept;
        c->line[c->line_length] = 0;
        if (!newline) return;
        if (expected) take_line(c, at); else c->line_length = 0;
        data += piece + 1;
        n -= piece + 1;
    }
}

static void take_head(struct conn *c) {
    c->left = -1;
    c->chunked = 0;
    char *length = strcasestr(c->head, "\r\ncontent-length:");
    if (length) c->left = atol(length + 17);
    if (strcasestr(c->head, "\r\ntransfer-encoding: chunked")) c->chunked = 1;
    if (strcasestr(c->head, "\r\nconnection: close")) c->closes = 1;
    if (c->chunked) c->left = 0;
    c->part = SIZE;
    c->stage = READS_BODY;
}

/* Takes a piece of a chunked body. Returns 1 at its end. */
static int take_chunked(struct conn *c, const char *data, size_t n, uint64_t at) {
    while (n) {
        if (c->part == DATA) {
            size_t piece = n < (size_t)c->left ? n : (size_t)c->left;
            take_body(c, data, piece, at);
            data += piece;
            n -= piece;
            c->left -= (long)piece;
            if (!c->left) c->part = AFTER_DATA;
            continue;
        }
        char byte = *data++;
        n--;
        if (c->part == SIZE && byte == '\n') c->part = c->left ? DATA : TRAILER;
        else if (c->part == SIZE && byte != '\r')
            c->left = c->left * 16 + (byte <= '9' ? byte - '0' : (byte | 32) - 'a' + 10);
        else if (c->part == AFTER_DATA && byte == '\n') c->part = SIZE;
        else if (c->part == TRAILER && byte == '\n') return 1;
    }
    return 0;
}

/* Takes what came. Returns 1 at the end of the reply. */
static int take(struct conn *c, const char *data, size_t n, uint64_t at) {
    if (c->stage == READS_HEAD) {
        size_t before = c->head_length;
        if (before + n > HEAD) n = HEAD - before; /* replies here have short heads, and then small chunks */
        memcpy(c->head + before, data, n);
        c->head_length += n;
        c->head[c->head_length] = 0;
        char *blank = strstr(c->head, "\r\n\r\n");
        if (!blank) return 0;
        blank[2] = 0;
        take_head(c);
        size_t used = (size_t)(blank - c->head) + 4 - before;
        data += used;
        n -= used;
    }
    if (c->chunked) return take_chunked(c, data, n, at);
    take_body(c, data, n, at);
    if (c->left >= 0) c->left -= (long)n;
    return c->left == 0;
}

static void receive(struct conn *c) {
    static char buffer[READ];
    size_t room = c->stage == READS_HEAD ? HEAD - c->head_length : READ;
    ssize_t got = recv(c->fd, buffer, room, MSG_DONTWAIT);
    uint64_t at = now();
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
        int whole = c->stage == READS_BODY && !c->chunked && c->left < 0 && got == 0;
        c->closes = 1;
        return end(c, whole ? NULL : "it hung up before the end");
    }
    if (!take(c, buffer, (size_t)got, at)) return;
    end(c, strncmp(c->head + 8, " 200", 4) ? "not status 200" : NULL);
}

static void go_on(struct conn *c, uint32_t events) {
    if (c->fd < 0) return;
    if (c->stage == CONNECTS) {
        int error = 0;
        socklen_t size = sizeof error;
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
        if (error) { end(c, strerror(error)); return; }
        c->stage = SENDS;
        send_rest(c);
    } else if (c->stage == SENDS && (events & EPOLLOUT)) send_rest(c);
    else if (c->stage == READS_HEAD || c->stage == READS_BODY) receive(c);
}

static void drive(struct conn *all, double seconds, long ramp) {
    uint64_t start = now(), limit = start + (uint64_t)(seconds * 1e9);
    struct epoll_event events[EVENTS];
    int begun = 0;
    for (int i = 0; i < connections; i++) {
        all[i].fd = -1;
        all[i].number = i;
        all[i].begins = start + (uint64_t)ramp * 1000000u * (uint64_t)i / (uint64_t)connections;
    }
    unfinished = connections;
    while (unfinished) {
        uint64_t at = now();
        if (at > limit) {
            if (!failed) snprintf(reason, sizeof reason, "not done within %.0f s", seconds);
            failed += open_now + (connections - begun);
            return;
        }
        while (begun < connections && all[begun].begins <= at) ask(&all[begun++]);
        int wait = begun < connections ? 1 : 100;
        int n = epoll_wait(epoll, events, EVENTS, wait);
        for (int i = 0; i < n; i++) go_on(events[i].data.ptr, events[i].events);
    }
}

int main(int count, char **given) {
    if (count < 13) die("too few arguments");
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    port = atoi(given[1]), path = given[2], run = atol(given[4]), chats = atol(given[5]);
    turn_from = atol(given[6]), turn_to = atol(given[7]);
    connections = atoi(given[8]), expected = atoi(given[9]), makes_new = atoi(given[12]);
    headers = given + 13, header_count = count - 13;
    read_script(given[3]);
    struct conn *all = calloc((size_t)connections, sizeof *all);
    if (!all) die("no memory");
    epoll = epoll_create1(0);
    uint64_t start = now();
    drive(all, atof(given[10]), atol(given[11]));
    double seconds = (double)(now() - start) / 1e9;
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    for (char *p = reason; *p; p++) if (*p == '"' || *p == '\\' || (unsigned char)*p < 32) *p = ' ';
    printf("{\"requests\": %ld, \"failed\": %ld, \"reason\": \"%s\", \"chunks\": %llu, \"bytes\": [%llu, %llu], "
           "\"seconds\": %.6f, \"cpu\": %.6f, \"open\": %ld", requests, failed, reason, chunks,
           fewest == UINT64_MAX ? 0 : fewest, most, seconds, (double)cpu.tv_sec + (double)cpu.tv_nsec / 1e9, open_most);
    print_samples("first", &firsts);
    print_samples("latency", &latencies);
    printf("}\n");
    return 0;
}
