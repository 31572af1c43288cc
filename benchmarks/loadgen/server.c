// A small fast OpenAI-completions server whose token times are known: the reference of the load
// generators' benchmark. One thread, epoll, an absolute schedule of tokens, every send recorded.
//
//   server PORT TTFT_US ITL_US PER_SEND
//
// ITL_US 0 sends as fast as the sockets take it; PER_SEND tokens go out in one send.
// GET /reset forgets what was recorded, GET /stats tells it, anything else is {"data":[…]}.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_FDS 32768
#define IN_BYTES 262144
#define MAX_GAPS 40000000

typedef struct {
    int fd, used, streaming, tokens, sent, want_write, heap;
    int64_t due, received, last;
    char *in, *out;
    size_t out_len, out_pos;
} Conn;

static Conn *conns[MAX_FDS];
static Conn *heap[MAX_FDS];
static int heap_len, epoll_fd, per_send, in_flight, peak;
static int64_t ttft_ns, itl_ns;
static double *gaps, *firsts;
static size_t gap_count, first_count;
static int64_t accepted, requests, tokens_sent, ended, window_start, window_end;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void heap_swap(int a, int b) {
    Conn *c = heap[a];
    heap[a] = heap[b], heap[b] = c;
    heap[a]->heap = a, heap[b]->heap = b;
}

static void heap_fix(int i) {
    while (i && heap[i]->due < heap[(i - 1) / 2]->due) heap_swap(i, (i - 1) / 2), i = (i - 1) / 2;
    for (;;) {
        int least = i, left = 2 * i + 1;
        if (left < heap_len && heap[left]->due < heap[least]->due) least = left;
        if (left + 1 < heap_len && heap[left + 1]->due < heap[least]->due) least = left + 1;
        if (least == i) return;
        heap_swap(i, least), i = least;
    }
}

static void heap_remove(Conn *c) {
    if (c->heap < 0) return;
    int i = c->heap;
    heap_swap(i, heap_len - 1);
    heap_len--, c->heap = -1;
    if (i < heap_len) heap_fix(i);
}

static void watch(Conn *c, int write) {
    struct epoll_event e = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
    c->want_write = write;
}

static void close_conn(Conn *c) {
    if (c->streaming) in_flight--;
    heap_remove(c);
    conns[c->fd] = NULL;
    close(c->fd), free(c->in), free(c->out), free(c);
}

static int flush_out(Conn *c) {
    while (c->out_pos < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_pos, c->out_len - c->out_pos, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) {
            if (!c->want_write) watch(c, 1);
            return 0;
        }
        if (n <= 0) return -1;
        c->out_pos += n;
    }
    c->out_pos = c->out_len = 0;
    if (c->want_write) watch(c, 0);
    return 1;
}

static void put_chunk(Conn *c, const char *text) {
    c->out_len += sprintf(c->out + c->out_len, "%zx\r\n%s\r\n", strlen(text), text);
}

static void finish(Conn *c, int64_t now) {
    char event[512];
    sprintf(event,
            "data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1763800000,"
            "\"model\":\"ref\",\"choices\":[],\"usage\":{\"prompt_tokens\":128,"
            "\"total_tokens\":%d,\"completion_tokens\":%d}}\n\n",
            128 + c->tokens, c->tokens);
    put_chunk(c, event);
    put_chunk(c, "data: [DONE]\n\n");
    c->out_len += sprintf(c->out + c->out_len, "0\r\n\r\n");
    c->streaming = 0, in_flight--, ended++, window_end = now;
    heap_remove(c);
}

// Send the tokens of one turn; the truth is the instant of the send.
static void turn(Conn *c) {
    // The head goes out with the first token: a send of its own would delay the other streams.
    if (!c->sent)
        c->out_len += sprintf(c->out + c->out_len,
                              "HTTP/1.1 200 OK\r\n"
                              "content-type: text/event-stream; charset=utf-8\r\n"
                              "transfer-encoding: chunked\r\n\r\n");
    int before = c->sent;
    for (int i = 0; i < per_send && c->sent < c->tokens; i++) {
        char event[512];
        int last = ++c->sent == c->tokens;
        sprintf(event,
                "data: {\"id\":\"cmpl-1\",\"object\":\"text_completion\",\"created\":1763800000,"
                "\"model\":\"ref\",\"choices\":[{\"index\":0,\"text\":\"%c\",\"logprobs\":null,"
                "\"finish_reason\":%s,\"stop_reason\":null}],\"usage\":null}\n\n",
                'a' + c->sent % 10, last ? "\"length\"" : "null");
        put_chunk(c, event);
        tokens_sent++;
    }
    int64_t now = now_ns();
    if (c->last) {
        if (gap_count < MAX_GAPS) gaps[gap_count++] = (now - c->last) / 1e6;
    } else if (first_count < MAX_GAPS / 8) {
        firsts[first_count++] = (now - c->received) / 1e6;
    }
    // Tokens of one send come together: the gaps between them are zero.
    for (int i = 1; i < c->sent - before && gap_count < MAX_GAPS; i++) gaps[gap_count++] = 0;
    c->last = now;
    if (c->sent == c->tokens) finish(c, now);
    else c->due += itl_ns, heap_fix(c->heap);
    if (flush_out(c) < 0) close_conn(c);
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double mean(const double *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += v[i];
    return n ? sum / n : 0;
}

static double rank(double *v, size_t n, double q) {
    qsort(v, n, sizeof *v, compare);
    return n ? v[(size_t)(q * (n - 1))] : 0;
}

static int stats(char *body) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    double cpu = u.ru_utime.tv_sec + u.ru_stime.tv_sec +
                 (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
    return sprintf(body,
                   "{\"requests\":%ld,\"tokens\":%ld,\"accepted\":%ld,\"ended\":%ld,\"peak\":%d,"
                   "\"begin_s\":%.6f,\"end_s\":%.6f,\"mean_ttft_ms\":%.4f,\"p99_ttft_ms\":%.4f,"
                   "\"mean_itl_ms\":%.4f,\"p99_itl_ms\":%.4f,\"cpu_s\":%.4f}",
                   requests, tokens_sent, accepted, ended, peak,
                   window_start / 1e9, window_end / 1e9, mean(firsts, first_count),
                   rank(firsts, first_count, 0.99), mean(gaps, gap_count),
                   rank(gaps, gap_count, 0.99), cpu);
}

static void answer(Conn *c, const char *line) {
    char body[1024] = "{\"object\":\"list\",\"data\":[{\"id\":\"ref\",\"object\":\"model\","
                      "\"max_model_len\":32768}]}";
    if (!strncmp(line, "GET /stats", 10)) stats(body);
    if (!strncmp(line, "GET /reset", 10)) {
        requests = tokens_sent = accepted = ended = window_start = window_end = 0;
        gap_count = first_count = 0, peak = in_flight;
    }
    c->out_len += sprintf(c->out + c->out_len,
                          "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                          "content-length: %zu\r\n\r\n%s", strlen(body), body);
}

static void refuse(Conn *c) {
    c->out_len += sprintf(c->out + c->out_len,
                          "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
}

static void start_stream(Conn *c, const char *body) {
    const char *limit = strstr(body, "\"max_tokens\":");
    if (!limit) limit = strstr(body, "\"max_completion_tokens\":");
    c->tokens = limit ? atoi(strchr(limit, ':') + 1) : 16;
    c->sent = 0, c->last = 0, c->received = now_ns(), c->streaming = 1;
    c->due = c->received + ttft_ns;
    if (!requests++) window_start = c->received;
    if (++in_flight > peak) peak = in_flight;
    c->heap = heap_len, heap[heap_len++] = c;
    heap_fix(c->heap);
}

static int serve(Conn *c) {
    c->in[c->used] = 0;
    char *end = strstr(c->in, "\r\n\r\n");
    if (!end) return 1;
    char *length = strcasestr(c->in, "content-length:");
    size_t body = length && length < end ? strtoul(length + 15, NULL, 10) : 0;
    size_t whole = end + 4 - c->in + body;
    if ((size_t)c->used < whole) return 1;
    if (!strncmp(c->in, "POST /v1/completions", 20)) start_stream(c, end + 4);
    else if (!strncmp(c->in, "POST", 4)) refuse(c);
    else answer(c, c->in);
    memmove(c->in, c->in + whole, c->used - whole);
    c->used -= whole;
    return flush_out(c) < 0 ? -1 : 1;
}

static void readable(Conn *c) {
    ssize_t n = recv(c->fd, c->in + c->used, IN_BYTES - 1 - c->used, 0);
    if (n <= 0 && !(n < 0 && errno == EAGAIN)) { close_conn(c); return; }
    if (n > 0) c->used += n;
    if (serve(c) < 0) close_conn(c);
}

static void accept_all(int listener) {
    int fd, one = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FDS) { close(fd); continue; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Conn *c = calloc(1, sizeof *c);
        c->fd = fd, c->heap = -1, c->in = malloc(IN_BYTES), c->out = malloc(512 * (per_send + 8));
        conns[fd] = c, accepted++;
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
    }
}

static int listen_on(int port) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, 16384)) perror("listen"), exit(1);
    return fd;
}

static void send_due(void) {
    // A stream whose socket is full waits for EPOLLOUT instead of being asked again and again.
    for (int64_t now = now_ns(); heap_len && heap[0]->due <= now;) {
        Conn *c = heap[0];
        if (c->want_write) c->due = now + 100000, heap_fix(0);
        else turn(c);
    }
}

int main(int argc, char **argv) {
    if (argc != 5) return fprintf(stderr, "usage: server PORT TTFT_US ITL_US PER_SEND\n"), 2;
    ttft_ns = atol(argv[2]) * 1000, itl_ns = atol(argv[3]) * 1000, per_send = atoi(argv[4]);
    gaps = malloc(MAX_GAPS * sizeof *gaps), firsts = malloc(MAX_GAPS / 8 * sizeof *firsts);
    int listener = listen_on(atoi(argv[1]));
    epoll_fd = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, ready[256];
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, &e);
    printf("ready\n"), fflush(stdout);
    for (;;) {
        int64_t wait = heap_len ? heap[0]->due - now_ns() : 1000000000;
        if (wait < 0) wait = 0;
        struct timespec t = {wait / 1000000000, wait % 1000000000};
        int n = epoll_pwait2(epoll_fd, ready, 256, &t, NULL);
        for (int i = 0; i < n; i++) {
            Conn *c = ready[i].data.ptr;
            if (!c) accept_all(listener);
            else if (ready[i].events & EPOLLOUT) { if (flush_out(c) < 0) close_conn(c); }
            else readable(c);
        }
        send_due();
    }
}
