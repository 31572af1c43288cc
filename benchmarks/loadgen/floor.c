// The floor: the least a client can do. It sends prepared requests on open connections, stamps
// each read and counts the tokens in it; nothing is parsed beyond finding the end of a response.
//
//   floor PORT CONCURRENCY REQUESTS OUTPUT_TOKENS BODY_FILE
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    int fd, tokens;
    int64_t sent, last;
    char tail[8];
} Conn;

static char request[1 << 20], buffer[1 << 18];
static int request_len, epoll_fd;
static long total, started, ended, tokens, late_reads;
static double *firsts, *sent_firsts, *gaps;
static size_t first_count, gap_count;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int64_t due_ns;

static void start(Conn *c, int64_t due) {
    if (started >= total) return;
    started++;
    c->sent = due, c->last = 0, c->tokens = 0;
    int64_t now = now_ns();
    if (send(c->fd, request, request_len, MSG_NOSIGNAL) != request_len) perror("send"), exit(1);
    sent_firsts[started - 1] = (now - due) / 1e6;
}

static void readable(Conn *c) {
    ssize_t n = recv(c->fd, buffer + 8, sizeof buffer - 8, 0);
    int64_t now = now_ns();
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) fprintf(stderr, "connection lost\n"), exit(1);
    char *at = buffer + 8, *end = at + n;
    int found = 0;
    for (; (at = memmem(at, end - at, "\"index\"", 7)); at += 7) found++;
    if (found) {
        tokens += found, c->tokens += found;
        if (!c->last) firsts[first_count++] = (now - c->sent) / 1e6;
        else gaps[gap_count++] = (now - c->last) / 1e6;
        for (int i = 1; i < found; i++) gaps[gap_count++] = 0;
        if (found > 1) late_reads++;
        c->last = now;
    }
    // The last five bytes of the stream may lie in two reads.
    memcpy(buffer + 4, c->tail, 4);
    if (n >= 1 && !memcmp(buffer + 8 + n - 5, "0\r\n\r\n", 5)) {
        ended++;
        start(c, now);
    }
    memcpy(c->tail, buffer + 8 + n - 4, 4);
}

static int connect_to(int port) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&a, sizeof a)) perror("connect"), exit(1);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

static double mean(const double *v, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += v[i];
    return n ? sum / n : 0;
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double rank(double *v, size_t n, double q) {
    qsort(v, n, sizeof *v, compare);
    return n ? v[(size_t)(q * (n - 1))] : 0;
}

static double cpu_s(void) {
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return u.ru_utime.tv_sec + u.ru_stime.tv_sec + (u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
    if (argc != 6)
        return fprintf(stderr, "usage: floor PORT CONCURRENCY REQUESTS OUTPUT BODY_FILE\n"), 2;
    int concurrency = atoi(argv[2]), output = atoi(argv[4]);
    total = atol(argv[3]);
    FILE *file = fopen(argv[5], "rb");
    static char body[1 << 19];
    size_t body_len = fread(body, 1, sizeof body - 1, file);
    request_len = sprintf(request,
                          "POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                          "Content-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                          body_len, body);
    firsts = malloc(total * 8), sent_firsts = malloc(total * 8);
    gaps = malloc((size_t)total * output * 8);
    epoll_fd = epoll_create1(0);
    Conn *conns = calloc(concurrency, sizeof *conns);
    for (int i = 0; i < concurrency; i++) {
        conns[i].fd = connect_to(atoi(argv[1]));
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &conns[i]};
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, conns[i].fd, &e);
    }
    usleep(200000);
    double cpu = cpu_s();
    int64_t begin = due_ns = now_ns();
    for (int i = 0; i < concurrency; i++) start(&conns[i], begin);
    struct epoll_event ready[512];
    while (ended < total) {
        int n = epoll_wait(epoll_fd, ready, 512, -1);
        for (int i = 0; i < n; i++) readable(ready[i].data.ptr);
    }
    double duration = (now_ns() - begin) / 1e9;
    cpu = cpu_s() - cpu;
    printf("{\"duration\":%.6f,\"tokens\":%ld,\"completed\":%ld,\"cpu_s\":%.6f,\"mean_lag_ms\":%.4f,"
           "\"mean_ttft_ms\":%.4f,\"p99_ttft_ms\":%.4f,\"mean_itl_ms\":%.4f,\"median_itl_ms\":%.4f,"
           "\"p99_itl_ms\":%.4f,\"coalesced_reads\":%ld}\n",
           duration, tokens, ended, cpu, mean(sent_firsts, started), mean(firsts, first_count),
           rank(firsts, first_count, 0.99), mean(gaps, gap_count), rank(gaps, gap_count, 0.5),
           rank(gaps, gap_count, 0.99), late_reads);
}
