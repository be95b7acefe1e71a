/* duckdb_api.h -- the functions of DuckDB's C library that we use.
 *
 * The npm package that brings libduckdb.so brings no header. These declarations follow DuckDB's
 * public, stable C API (duckdb.h, "stable since 1.0"), as far as needed here.
 */
#ifndef VG_LAKE_DUCKDB_API_H
#define VG_LAKE_DUCKDB_API_H

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t idx_t;
typedef enum { DuckDBSuccess = 0, DuckDBError = 1 } duckdb_state;
typedef struct duckdb_database_s *duckdb_database;
typedef struct duckdb_connection_s *duckdb_connection;
typedef struct duckdb_config_s *duckdb_config;
typedef struct duckdb_appender_s *duckdb_appender;
typedef struct duckdb_data_chunk_s *duckdb_data_chunk;
typedef struct duckdb_vector_s *duckdb_vector;
typedef struct duckdb_prepared_s *duckdb_prepared_statement;

typedef struct {
    int64_t micros;
} duckdb_timestamp;

typedef struct {
    idx_t deprecated_column_count, deprecated_row_count, deprecated_rows_changed;
    void *deprecated_columns;
    char *deprecated_error_message;
    void *internal_data;
} duckdb_result;

/* Up to 12 bytes live inside; longer ones behind the pointer. */
typedef struct {
    union {
        struct {
            uint32_t length;
            char prefix[4];
            char *ptr;
        } pointer;
        struct {
            uint32_t length;
            char inlined[12];
        } inlined;
    } value;
} duckdb_string_t;

duckdb_state duckdb_open_ext(const char *path, duckdb_database *ret, duckdb_config config,
                             char **ret_error);
void duckdb_close(duckdb_database *db);
duckdb_state duckdb_connect(duckdb_database db, duckdb_connection *ret);
void duckdb_disconnect(duckdb_connection *connection);
duckdb_state duckdb_query(duckdb_connection connection, const char *sql, duckdb_result *ret);
const char *duckdb_result_error(duckdb_result *result);
void duckdb_destroy_result(duckdb_result *result);
void duckdb_free(void *memory);

duckdb_data_chunk duckdb_fetch_chunk(duckdb_result result);
void duckdb_destroy_data_chunk(duckdb_data_chunk *chunk);
idx_t duckdb_data_chunk_get_size(duckdb_data_chunk chunk);
duckdb_vector duckdb_data_chunk_get_vector(duckdb_data_chunk chunk, idx_t column);
void *duckdb_vector_get_data(duckdb_vector vector);
uint64_t *duckdb_vector_get_validity(duckdb_vector vector);

duckdb_state duckdb_prepare(duckdb_connection connection, const char *sql,
                            duckdb_prepared_statement *ret);
void duckdb_destroy_prepare(duckdb_prepared_statement *statement);
const char *duckdb_prepare_error(duckdb_prepared_statement statement);
duckdb_state duckdb_bind_varchar_length(duckdb_prepared_statement statement, idx_t index,
                                        const char *value, idx_t length);
duckdb_state duckdb_bind_int64(duckdb_prepared_statement statement, idx_t index, int64_t value);
duckdb_state duckdb_execute_prepared(duckdb_prepared_statement statement, duckdb_result *ret);

duckdb_state duckdb_appender_create(duckdb_connection connection, const char *schema,
                                    const char *table, duckdb_appender *ret);
const char *duckdb_appender_error(duckdb_appender appender);
duckdb_state duckdb_appender_flush(duckdb_appender appender);
duckdb_state duckdb_appender_destroy(duckdb_appender *appender);
duckdb_state duckdb_appender_end_row(duckdb_appender appender);
duckdb_state duckdb_append_varchar_length(duckdb_appender appender, const char *value,
                                          idx_t length);
duckdb_state duckdb_append_double(duckdb_appender appender, double value);
duckdb_state duckdb_append_int64(duckdb_appender appender, int64_t value);
duckdb_state duckdb_append_bool(duckdb_appender appender, bool value);
duckdb_state duckdb_append_timestamp(duckdb_appender appender, duckdb_timestamp value);
duckdb_state duckdb_append_null(duckdb_appender appender);

#endif
