#pragma once

/* Names of the files of a database. */

#include "common/base/bytes.h"
#include "common/base/limits.h"

#define LSM_FILE_NAME_BYTES_MAX ((size_t)32) /* with the NUL */
#define LSM_DIRECTORY_BYTES_MAX (NK_PATH_BYTES_MAX - LSM_FILE_NAME_BYTES_MAX)
#define LSM_MANIFEST_NAME       "manifest"
#define LSM_MANIFEST_NEW_NAME   "manifest.new"
#define LSM_DROPPED_NAME        "dropped" /* a manifest whose database is being removed */

/* "directory/file". */
void lsm_path(const char *directory, const char *file, char out[NK_PATH_BYTES_MAX]);

/* Numbers of tables are below it, so that the next one never wraps. */
#define LSM_TABLE_NUMBER_LIMIT ((uint64_t)1 << 62)

/* How far above the next number that a manifest promises a file's number may be for the file to be
 * one of the database.  Numbers are given one by one and promised with the next table, so nobody
 * comes near it. */
#define LSM_TABLE_NUMBER_REACH ((uint64_t)1 << 32)

/* Whether a table file of that number may be one of a database whose manifest says `number_next`.
 */
static inline bool lsm_table_number_is_near(uint64_t number, uint64_t number_next)
{
    return number < number_next || number - number_next < LSM_TABLE_NUMBER_REACH;
}

/* "0000000042.sst" */
void lsm_table_name(uint64_t number, char out[LSM_FILE_NAME_BYTES_MAX]);

/* The inverse; false for every other name. */
bool lsm_table_name_parse(const char *name, uint64_t *out_number);
