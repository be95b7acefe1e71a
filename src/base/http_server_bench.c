/* Requests a second on one loop thread, from clients of this same process: keep-alive, plain and
 * TLS handshakes apart. key=value lines. */
#include "base/http_server.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CLIENTS = 16, SECONDS = 2 };

static uint16_t port;

static void on_hello(struct vg_http_request *request, void *ctx)
{
    (void)ctx;
    vg_http_reply(request, 200, "text/plain", VG_SLICE("hello"));
}

/* CLIENTS connections, one request in flight on each; *ctx counts the answers. */
static void *load(void *ctx)
{
    static const char text[] = "GET /hello HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    uint64_t *count = ctx;
    int64_t until_us = vg_mono_us() + SECONDS * VG_SECOND_US;
    const int on = 1;
    char out[4096];
    int fds[CLIENTS];

    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fds[i], (const struct sockaddr *)&to, sizeof(to)) != 0)
            exit(1);
        (void)setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    }
    while (vg_mono_us() < until_us) {
        for (int i = 0; i < CLIENTS; i++)
            if (send(fds[i], text, sizeof(text) - 1, MSG_NOSIGNAL) < 0)
                exit(1);
        for (int i = 0; i < CLIENTS; i++, (*count)++)
            if (recv(fds[i], out, sizeof(out), 0) <= 0) /* an answer of 300 bytes comes whole */
                exit(1);
    }
    for (int i = 0; i < CLIENTS; i++)
        (void)close(fds[i]);
    return NULL;
}

int main(void)
{
    const struct vg_http_server_config config = {.address = "127.0.0.1"};
    struct vg_http_server *server = NULL;
    struct vg_loop *loop = NULL;
    uint64_t count = 0;

    if (vg_loop_open("http", &loop, NULL) != VG_OK ||
        vg_http_server_open(loop, &config, &server, NULL) != VG_OK ||
        vg_http_route(server, "GET", "/hello", on_hello, NULL, NULL) != VG_OK ||
        vg_loop_start(loop, NULL) != VG_OK)
        return 1;
    port = vg_http_server_port(server);
    (void)load(&count);
    printf("http_requests_per_s=%llu clients=%d\n", (unsigned long long)(count / SECONDS), CLIENTS);
    vg_loop_stop(loop);
    vg_http_server_close(server);
    vg_loop_close(loop);
    return 0;
}
