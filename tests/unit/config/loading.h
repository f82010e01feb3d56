#pragma once

/* Loads settings from texts and keeps the outcome for a test to look at. */

#include "common/config/config.h"

struct loading {
    const char *yaml;               /* NULL: no file */
    const char *const *environment; /* NULL: none */
    const char *const *flags;       /* ends with NULL; NULL: none */

    enum nk_err err;
    struct nk_settings *settings; /* err == NK_OK */
    const struct nk_config *config;
    struct nk_config_error error; /* err != NK_OK */
};

/* The file is called "n.yaml".  Ended by loading_end. */
void loading_run(struct loading *loading);
void loading_end(struct loading *loading);

/* Loads the required keys and `yaml`, and checks that all is well. */
void loading_yaml(struct loading *loading, const char *yaml);

/* Checks that `yaml`, below the required keys in lines 1 and 2, is refused with this line. */
void expect_refused(const char *yaml, const char *line);

/* Checks that required keys and these flags are refused with this line. */
void expect_flags_refused(const char *const *flags, const char *line);

/* The same for one variable. */
void expect_variable_refused(const char *variable, const char *line);
