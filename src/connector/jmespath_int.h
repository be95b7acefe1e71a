/* jmespath_int.h -- a JMESPath as jmespath.c reads it and jmespath_run.c runs it. */
#ifndef VG_CONNECTOR_JMESPATH_INT_H
#define VG_CONNECTOR_JMESPATH_INT_H

#include "connector/jmespath.h"

#define ARGUMENTS_MAX 64

enum token_kind {
    TOKEN_END,
    TOKEN_NAME,
    TOKEN_QUOTED,
    TOKEN_LITERAL,
    TOKEN_RAW,
    TOKEN_NUMBER,
    TOKEN_CURRENT,  /* @ */
    TOKEN_EXPREF,   /* & */
    TOKEN_NOT,      /* ! */
    TOKEN_RPAREN,   /* ) */
    TOKEN_RBRACKET, /* ] */
    TOKEN_RBRACE,   /* } */
    TOKEN_COMMA,
    TOKEN_COLON,
    TOKEN_PIPE,
    TOKEN_OR,
    TOKEN_AND,
    TOKEN_EQ,
    TOKEN_NE,
    TOKEN_LT,
    TOKEN_LE,
    TOKEN_GT,
    TOKEN_GE,
    TOKEN_FLATTEN, /* [] */
    TOKEN_STAR,
    TOKEN_FILTER, /* [? */
    TOKEN_DOT,
    TOKEN_LBRACE,
    TOKEN_LBRACKET,
    TOKEN_LPAREN,
    TOKEN_BAD,
};

enum node_kind {
    NODE_CURRENT,
    NODE_FIELD,
    NODE_LITERAL,
    NODE_CHAIN, /* left, then right over its result: a.b, a | b, a[0] */
    NODE_INDEX,
    NODE_SLICE,
    NODE_LIST,    /* right over each element of left */
    NODE_VALUES,  /* right over each member of left */
    NODE_FILTER,  /* right over each element of left for which first holds */
    NODE_FLATTEN, /* of left */
    NODE_OR,
    NODE_AND,
    NODE_NOT,
    NODE_COMPARE,
    NODE_MULTI_LIST,
    NODE_MULTI_HASH,
    NODE_CALL,
};

struct function;

struct node {
    enum node_kind kind;
    uint8_t height;
    bool has_from, has_to, is_expref;
    enum token_kind compare;
    int64_t from, to, by;       /* INDEX: from */
    struct vg_slice name;       /* FIELD; member of a MULTI_HASH */
    const struct vg_json *json; /* LITERAL */
    const struct node *left, *right;
    struct node *first, *next; /* parts of a list, hash or call; FILTER: the condition */
    const struct function *function;
};

struct jmespath {
    const struct node *root;
    bool is_medtech;
};

struct run; /* jmespath_run_int.h */

/* An argument: its value, or (&a) the expression itself. */
struct argument {
    const struct vg_json *value;
    const struct node *expression;
};

enum {
    IS_NUMBER = 1,
    IS_TEXT = 2,
    IS_BOOLEAN = 4,
    IS_ARRAY = 8,
    IS_OBJECT = 16,
    IS_NULL = 32,
    IS_ANY = 63,
    IS_EXPREF = 64,
    IS_NUMBERS = 128, /* an array of numbers alone */
    IS_TEXTS = 256,
    IS_INTEGER = 512,
};

struct function {
    const char *name;
    uint8_t count_min, count_max;
    uint16_t takes[3]; /* the last one also for all that follow */
    const struct vg_json *(*call)(struct run *run, const struct argument *args, size_t count);
};

/* The one node that is told apart by its place: @ where nobody has written it. */
extern const struct node jmespath_current_node;

/* In the table of jmespath_functions.c; NULL = there is none of this name. */
const struct function *jmespath_find_function(struct vg_slice name);

#endif
