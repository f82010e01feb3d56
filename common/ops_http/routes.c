#include "routes.h"

#include "common/base/units.h"

/* What one rendering needs and gives. */
struct page {
    struct nk_health *health;
    struct nk_registry *metrics; /* NULL: not offered */
    const char *accept;          /* NULL: no such header */
    bool ok;                     /* false: 503 */
    const char *content_type;
    struct nk_buf body;
};

static void render_quick(struct page *page)
{
    page->ok = nk_health_quick(page->health);
    nk_buf_append_string(&page->body, page->ok ? "OK" : "UNAVAILABLE");
}

static void render_health(struct page *page)
{
    page->ok = nk_health_status(page->health) != NK_UNHEALTHY;
    page->content_type = "application/json";
    nk_health_json(page->health, &page->body);
}

static void render_check(struct page *page, const char *failing)
{
    nk_buf_append_string(&page->body, page->ok ? "ok" : failing);
    nk_buf_append_u8(&page->body, '\n');
}

static void render_live(struct page *page)
{
    const char *failing;
    page->ok = nk_health_live(page->health, &failing);
    render_check(page, failing);
}

static void render_ready(struct page *page)
{
    const char *failing;
    page->ok = nk_health_ready(page->health, &failing);
    render_check(page, failing);
}

static void render_metrics(struct page *page)
{
    enum nk_metrics_format format = nk_metrics_format_of_accept(page->accept);
    page->content_type = nk_metrics_content_type(format);
    nk_registry_render(page->metrics, format, &page->body);
}

static const struct route {
    const char *path;
    void (*render)(struct page *page);
} routes[] = {
    {"/health/quick", render_quick}, {"/health", render_health},   {"/healthz", render_live},
    {"/readyz", render_ready},       {"/metrics", render_metrics},
};

bool routes_serve(struct exchange *exchange, struct nk_health *health, struct nk_registry *metrics)
{
    const struct route *route = NULL;
    for (size_t i = 0; i < NK_COUNT_OF(routes) && route == NULL; i++) {
        if (strcmp(routes[i].path, exchange->plain.path) == 0) {
            route = &routes[i];
        }
    }
    if (route == NULL || (route->render == render_metrics && metrics == NULL)) {
        return false;
    }
    const char *method = exchange->plain.method;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        const struct nk_http_field allow = {"Allow", "GET, HEAD"};
        exchange->plain.ops->answer_error(&exchange->plain, MHD_HTTP_METHOD_NOT_ALLOWED,
                                          "UNIMPLEMENTED", "only GET and HEAD", &allow, 1);
        return true;
    }
    struct page page = {
        .health = health,
        .metrics = metrics,
        .accept = MHD_lookup_connection_value(exchange->connection, MHD_HEADER_KIND, "Accept"),
        .ok = true,
        .content_type = "text/plain; charset=utf-8",
    };
    route->render(&page);
    exchange_answer_taken(exchange, page.ok ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE,
                          page.content_type, &page.body);
    return true;
}
