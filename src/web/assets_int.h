/* assets_int.h -- the table that ui/build.mjs writes. */
#ifndef VG_WEB_ASSETS_INT_H
#define VG_WEB_ASSETS_INT_H

#include <stdbool.h>
#include <stddef.h>

struct web_asset_file {
    const char *path, *type, *etag;
    const unsigned char *bytes, *gzip;
    size_t len, gzip_len;
    bool is_hashed; /* its name holds its hash: it never changes */
};

extern const struct web_asset_file web_assets[];
extern const size_t web_asset_count;

#endif
