/* SPDX-License-Identifier: Apache-2.0 */
#include "weights/pickle.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/quote.h"

#define MAX_PROTOCOL 5u
#define FIRST_STACK  64u

/* What the machine makes of a global when it is called or named in a storage. */
enum role {
    ROLE_OPAQUE = 0,
    ROLE_DICT,
    ROLE_SIZE,
    ROLE_STORAGE,
    ROLE_DTYPE,
    ROLE_TENSOR_CLASS,
    ROLE_REBUILD_TENSOR,       /* (storage, offset, size, stride, ...) */
    ROLE_REBUILD_TENSOR_DTYPE, /* the same, with a dtype as argument 7 */
    ROLE_REBUILD_PARAMETER,    /* (tensor, ...) */
    ROLE_REBUILD_TYPED         /* (function, class, arguments, state) */
};

static const struct {
    const char *module, *name;
    enum role role;
} globals[] = {
    { "collections", "OrderedDict", ROLE_DICT },
    { "collections", "defaultdict", ROLE_DICT },
    { "torch", "Size", ROLE_SIZE },
    { "torch", "Tensor", ROLE_TENSOR_CLASS },
    { "torch.nn.parameter", "Parameter", ROLE_TENSOR_CLASS },
    { "torch.nn.parameter", "Buffer", ROLE_TENSOR_CLASS },
    { "torch._utils", "_rebuild_tensor", ROLE_REBUILD_TENSOR },
    { "torch._utils", "_rebuild_tensor_v2", ROLE_REBUILD_TENSOR },
    { "torch._utils", "_rebuild_tensor_v3", ROLE_REBUILD_TENSOR_DTYPE },
    { "torch._utils", "_rebuild_parameter", ROLE_REBUILD_PARAMETER },
    { "torch._utils", "_rebuild_parameter_with_state", ROLE_REBUILD_PARAMETER },
    { "torch._tensor", "_rebuild_from_type_v2", ROLE_REBUILD_TYPED },
};

static const m2s_torch_dtype dtypes[] = {
    { "FloatStorage", "float32", M2SNET_DTYPE_F32, 4 },
    { "DoubleStorage", "float64", M2SNET_DTYPE_F64, 8 },
    { "HalfStorage", "float16", M2SNET_DTYPE_F16, 2 },
    { "BFloat16Storage", "bfloat16", M2SNET_DTYPE_BF16, 2 },
    { "LongStorage", "int64", M2SNET_DTYPE_I64, 8 },
    { "IntStorage", "int32", M2SNET_DTYPE_I32, 4 },
    { "ShortStorage", "int16", M2SNET_DTYPE_I16, 2 },
    { "CharStorage", "int8", M2SNET_DTYPE_I8, 1 },
    { "ByteStorage", "uint8", M2SNET_DTYPE_U8, 1 },
    { "UntypedStorage", "uint8", M2SNET_DTYPE_U8, 1 },
    { "BoolStorage", "bool", M2SNET_DTYPE_BOOL, 1 },
    { "ComplexFloatStorage", "complex64", 0, 8 },
    { "ComplexDoubleStorage", "complex128", 0, 16 },
    { "QInt8Storage", "qint8", 0, 1 },
    { "QUInt8Storage", "quint8", 0, 1 },
    { "QInt32Storage", "qint32", 0, 4 },
    { "", "uint16", 0, 2 },
    { "", "uint32", 0, 4 },
    { "", "uint64", 0, 8 },
    { "", "float8_e4m3fn", 0, 1 },
    { "", "float8_e4m3fnuz", 0, 1 },
    { "", "float8_e5m2", 0, 1 },
    { "", "float8_e5m2fnuz", 0, 1 },
};

#define COUNT_OF(array) (sizeof(array) / sizeof *(array))

struct m2s_pickle {
    m2s_memory *memory;
    m2s_pile *pile;
    size_t value_count;
    m2s_pickle_storage **storages;
    size_t storage_count, storage_capacity;
};

/* One run over one pickle. */
typedef struct machine {
    m2s_pickle *pickle;
    const unsigned char *start, *next, *end;
    m2s_pickle_value **stack;
    size_t depth, stack_capacity;
    size_t *marks; /* depths at which a MARK stands */
    size_t mark_count, mark_capacity;
    m2s_pickle_value **memo;
    size_t memo_count, memo_capacity;
    size_t opcodes;
    m2snet_error *error;
} machine;

m2snet_status m2s_pickle_create(m2s_memory *memory, m2s_pickle **pickle, m2snet_error *error)
{
    m2s_pickle *made = m2s_calloc(memory, 1, sizeof *made);

    *pickle = NULL;
    if (made != NULL) {
        made->memory = memory;
        made->pile = m2s_pile_create(memory);
    }
    if (made == NULL || made->pile == NULL) {
        m2s_free(memory, made);
        return m2s_fail_memory(error, "a pickle's values", sizeof *made);
    }
    *pickle = made;
    return M2SNET_STATUS_OK;
}

void m2s_pickle_destroy(m2s_pickle *pickle)
{
    if (pickle != NULL) {
        m2s_free(pickle->memory, pickle->storages);
        m2s_pile_destroy(pickle->pile);
        m2s_free(pickle->memory, pickle);
    }
}

m2s_pickle_storage **m2s_pickle_storages(const m2s_pickle *pickle, size_t *count)
{
    *count = pickle->storage_count;
    return pickle->storages;
}

bool m2s_pickle_text_is(m2s_pickle_text text, const char *word)
{
    return strlen(word) == text.bytes && memcmp(text.start, word, text.bytes) == 0;
}

m2s_pickle_description m2s_pickle_describe(const m2s_pickle_value *value)
{
    static const char *const names[] = {
        [M2S_PICKLE_NONE] = "None",          [M2S_PICKLE_BOOL] = "True or False", [M2S_PICKLE_INTEGER] = "an integer",
        [M2S_PICKLE_BIG] = "a long integer", [M2S_PICKLE_REAL] = "a number",      [M2S_PICKLE_STRING] = "a string",
        [M2S_PICKLE_BYTES] = "bytes",        [M2S_PICKLE_TUPLE] = "a tuple",      [M2S_PICKLE_LIST] = "a list",
        [M2S_PICKLE_DICT] = "a dict",        [M2S_PICKLE_STORAGE] = "a storage",  [M2S_PICKLE_TENSOR] = "a tensor",
    };
    m2s_pickle_description description;
    const m2s_pickle_value *named = value->kind == M2S_PICKLE_OPAQUE ? value->u.maker : value;

    if (named->kind == M2S_PICKLE_GLOBAL) {
        char full[160];
        m2s_pickle_text module = named->u.global->module;
        m2s_pickle_text name = named->u.global->name;
        int length = snprintf(full, sizeof full, "%.*s.%.*s", module.bytes < 60 ? (int)module.bytes : 60, module.start,
                              name.bytes < 60 ? (int)name.bytes : 60, name.start);
        snprintf(description.text, sizeof description.text, "%s %s",
                 value->kind == M2S_PICKLE_OPAQUE ? "an object of" : "the Python name",
                 m2s_quote(full, length > 0 ? (size_t)length : 0).text);
    } else {
        snprintf(description.text, sizeof description.text, "%s",
                 value->kind == M2S_PICKLE_OPAQUE ? "an object" : names[value->kind]);
    }
    return description;
}

/* ---- machine parts ---- */

/* FORMAT, with the place in the message. A macro, so that the compiler sees what it gives. */
#define BAD(m, ...) (say_bad((m), __VA_ARGS__), M2SNET_STATUS_FORMAT)

__attribute__((format(printf, 2, 3))) static void say_bad(const machine *m, const char *format, ...)
{
    char text[400];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    m2s_fail(m->error, M2SNET_STATUS_FORMAT, "pickle, byte %zu: %s", (size_t)(m->next - m->start), text);
}

static m2snet_status out_of_memory(const machine *m, size_t bytes)
{
    m2s_fail_memory(m->error, "a pickle's values", bytes);
    return M2SNET_STATUS_OUT_OF_MEMORY;
}

/* The next count bytes. */
static m2snet_status take(machine *m, size_t count, const unsigned char **bytes)
{
    if (count > (size_t)(m->end - m->next)) {
        return BAD(m, "%zu more bytes expected, %zu are there: the file is cut off or damaged", count,
                   (size_t)(m->end - m->next));
    }
    *bytes = m->next;
    m->next += count;
    return M2SNET_STATUS_OK;
}

/* A little-endian number of 1, 2, 4 or 8 bytes. */
static m2snet_status take_number(machine *m, size_t count, uint64_t *number)
{
    const unsigned char *bytes = NULL;
    m2snet_status status = take(m, count, &bytes);

    if (status == M2SNET_STATUS_OK) {
        *number = 0;
        for (size_t i = count; i-- > 0;) {
            *number = *number << 8 | bytes[i];
        }
    }
    return status;
}

/* Text up to a newline, which is taken too. */
static m2snet_status take_line(machine *m, m2s_pickle_text *line)
{
    const unsigned char *newline = memchr(m->next, '\n', (size_t)(m->end - m->next));

    if (newline == NULL) {
        return BAD(m, "a name without an end: the file is cut off or damaged");
    }
    *line = (m2s_pickle_text){ (const char *)m->next, (size_t)(newline - m->next) };
    m->next = newline + 1;
    return M2SNET_STATUS_OK;
}

static m2snet_status grow(const machine *m, void **array, size_t count, size_t *capacity, size_t size)
{
    size_t wanted = *capacity == 0 ? 64 : 2 * *capacity;
    size_t bytes;

    if (count < *capacity) {
        return M2SNET_STATUS_OK;
    }
    void *grown = m2s_mul(wanted, size, &bytes) ? m2s_realloc(m->pickle->memory, *array, bytes) : NULL;
    if (grown == NULL) {
        return out_of_memory(m, wanted * size);
    }
    *array = grown;
    *capacity = wanted;
    return M2SNET_STATUS_OK;
}

static m2snet_status push(machine *m, m2s_pickle_value *value)
{
    void *stack = m->stack;
    m2snet_status status = grow(m, &stack, m->depth, &m->stack_capacity, sizeof *m->stack);

    m->stack = stack;
    if (status == M2SNET_STATUS_OK) {
        m->stack[m->depth++] = value;
    }
    return status;
}

static m2snet_status count_values(machine *m, size_t count)
{
    if (count > M2S_PICKLE_MAX_VALUES - m->pickle->value_count) {
        m2s_fail(m->error, M2SNET_STATUS_LIMIT, "pickle: more than %u values", M2S_PICKLE_MAX_VALUES);
        return M2SNET_STATUS_LIMIT;
    }
    m->pickle->value_count += count;
    return M2SNET_STATUS_OK;
}

static m2snet_status new_value(machine *m, m2s_pickle_kind kind, m2s_pickle_value **value)
{
    m2snet_status status = count_values(m, 1);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    *value = m2s_pile_alloc(m->pickle->pile, sizeof **value);
    if (*value == NULL) {
        return out_of_memory(m, sizeof **value);
    }
    (*value)->kind = kind;
    return M2SNET_STATUS_OK;
}

static m2snet_status push_new(machine *m, m2s_pickle_kind kind, m2s_pickle_value **value)
{
    m2snet_status status = new_value(m, kind, value);

    return status == M2SNET_STATUS_OK ? push(m, *value) : status;
}

/* Takes count values from the stack; they stay readable at the returned place until the next push. */
static m2snet_status pop(machine *m, size_t count, m2s_pickle_value ***values)
{
    size_t floor = m->mark_count > 0 ? m->marks[m->mark_count - 1] : 0;

    if (count > m->depth - floor) {
        return BAD(m, "%zu values expected on the stack, %zu are there", count, m->depth - floor);
    }
    m->depth -= count;
    *values = m->stack + m->depth;
    return M2SNET_STATUS_OK;
}

static m2snet_status pop_mark(machine *m, m2s_pickle_value ***values, size_t *count)
{
    if (m->mark_count == 0) {
        return BAD(m, "no mark on the stack");
    }
    size_t mark = m->marks[--m->mark_count];
    *values = m->stack + mark;
    *count = m->depth - mark;
    m->depth = mark;
    return M2SNET_STATUS_OK;
}

static m2snet_status push_mark(machine *m)
{
    void *marks = m->marks;
    m2snet_status status = grow(m, &marks, m->mark_count, &m->mark_capacity, sizeof *m->marks);

    m->marks = marks;
    if (status == M2SNET_STATUS_OK) {
        m->marks[m->mark_count++] = m->depth;
    }
    return status;
}

static m2snet_status top(machine *m, m2s_pickle_value **value)
{
    m2s_pickle_value **values = NULL;
    m2snet_status status = pop(m, 1, &values);

    if (status == M2SNET_STATUS_OK) {
        *value = values[0];
        m->depth++;
    }
    return status;
}

/* ---- memo ---- */

/* A pickler numbers its memos in order, so a slot far beyond the opcodes seen is damage. */
static m2snet_status memo_put(machine *m, uint64_t slot)
{
    m2s_pickle_value *value = NULL;
    m2snet_status status = top(m, &value);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    if (slot > m->opcodes) {
        return BAD(m, "memo slot %" PRIu64 " after %zu opcodes", slot, m->opcodes);
    }
    while (slot >= m->memo_capacity && status == M2SNET_STATUS_OK) {
        void *memo = m->memo;
        status = grow(m, &memo, m->memo_capacity, &m->memo_capacity, sizeof *m->memo);
        m->memo = memo;
    }
    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    for (; m->memo_count <= slot; m->memo_count++) {
        m->memo[m->memo_count] = NULL;
    }
    m->memo[slot] = value;
    return M2SNET_STATUS_OK;
}

static m2snet_status memo_get(machine *m, uint64_t slot)
{
    if (slot >= m->memo_count || m->memo[slot] == NULL) {
        return BAD(m, "memo slot %" PRIu64 " is empty", slot);
    }
    return push(m, m->memo[slot]);
}

/* ---- numbers and text ---- */

static m2snet_status push_integer(machine *m, int64_t integer)
{
    m2s_pickle_value *value = NULL;
    m2snet_status status = push_new(m, M2S_PICKLE_INTEGER, &value);

    if (status == M2SNET_STATUS_OK) {
        value->u.integer = integer;
    }
    return status;
}

static m2snet_status push_bool(machine *m, bool boolean)
{
    m2s_pickle_value *value = NULL;
    m2snet_status status = push_new(m, M2S_PICKLE_BOOL, &value);

    if (status == M2SNET_STATUS_OK) {
        value->u.boolean = boolean;
    }
    return status;
}

/* BINFLOAT: a double, big endian. */
static m2snet_status push_real(machine *m)
{
    m2s_pickle_value *value = NULL;
    const unsigned char *bytes = NULL;
    uint64_t bits = 0;
    m2snet_status status = take(m, 8, &bytes);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    for (int i = 0; i < 8; i++) {
        bits = bits << 8 | bytes[i];
    }
    status = push_new(m, M2S_PICKLE_REAL, &value);
    if (status == M2SNET_STATUS_OK) {
        memcpy(&value->u.real, &bits, sizeof bits);
    }
    return status;
}

/* Text or bytes after a length of length_bytes. */
static m2snet_status push_text(machine *m, m2s_pickle_kind kind, size_t length_bytes)
{
    m2snet_status status;
    uint64_t length = 0;
    const unsigned char *start = NULL;
    m2s_pickle_value *value = NULL;

    M2S_TRY(take_number(m, length_bytes, &length));
    M2S_TRY(take(m, length, &start));
    M2S_TRY(push_new(m, kind, &value));
    value->u.text = (m2s_pickle_text){ (const char *)start, (size_t)length };

fail:
    return status;
}

/* LONG1, LONG4: two's complement, little endian, of any length. */
static m2snet_status push_long(machine *m, size_t length_bytes)
{
    m2s_pickle_value *value = NULL;
    m2snet_status status = push_text(m, M2S_PICKLE_BIG, length_bytes);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    value = m->stack[m->depth - 1];
    m2s_pickle_text text = value->u.text;
    if (text.bytes <= 8) {
        uint64_t bits = text.bytes > 0 && ((unsigned char)text.start[text.bytes - 1] & 0x80u) != 0 ? UINT64_MAX : 0;
        for (size_t i = text.bytes; i-- > 0;) {
            bits = bits << 8 | (unsigned char)text.start[i];
        }
        value->kind = M2S_PICKLE_INTEGER;
        value->u.integer = (int64_t)bits;
    }
    return M2SNET_STATUS_OK;
}

/* INT and LONG as Python 2 writes what does not fit 32 bits: decimal digits, "L" at the end of a LONG. INT also writes
 * "00" and "01" for False and True. */
static m2snet_status push_decimal(machine *m)
{
    m2s_pickle_text line = { 0 };
    int64_t number = 0;
    m2snet_status status = take_line(m, &line);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    if (m2s_pickle_text_is(line, "00") || m2s_pickle_text_is(line, "01")) {
        return push_bool(m, line.start[1] == '1');
    }
    size_t bytes = line.bytes;
    if (bytes > 1 && line.start[bytes - 1] == 'L') {
        bytes--;
    }
    bool negative = bytes > 1 && line.start[0] == '-';
    bool good = bytes > (negative ? 1u : 0u);
    for (size_t i = negative ? 1 : 0; i < bytes && good; i++) {
        int digit = line.start[i] - '0';
        good = digit >= 0 && digit <= 9 && !__builtin_mul_overflow(number, (int64_t)10, &number) &&
               !__builtin_sub_overflow(number, (int64_t)digit, &number);
    }
    if (!good || (!negative && number == INT64_MIN)) {
        return BAD(m, "expected an integer within 64 bits, got %s", m2s_quote(line.start, line.bytes).text);
    }
    return push_integer(m, negative ? number : -number);
}

/* ---- containers ---- */

static m2snet_status append(machine *m, m2s_pickle_items *list, m2s_pickle_value *const *values, size_t count)
{
    size_t needed;

    if (!m2s_add(list->count, count, &needed)) {
        return BAD(m, "too many elements");
    }
    if (needed > list->capacity) {
        size_t capacity = needed + list->count;
        size_t bytes;
        m2s_pickle_value **grown =
            m2s_mul(capacity, sizeof *grown, &bytes) ? m2s_pile_alloc(m->pickle->pile, bytes) : NULL;
        if (grown == NULL) {
            return out_of_memory(m, capacity * sizeof *grown);
        }
        if (list->count > 0) {
            memcpy(grown, list->items, list->count * sizeof *grown);
        }
        list->items = grown;
        list->capacity = capacity;
    }
    if (count > 0) {
        memcpy(list->items + list->count, values, count * sizeof *values);
    }
    list->count = needed;
    return M2SNET_STATUS_OK;
}

static m2snet_status push_list(machine *m, m2s_pickle_kind kind, m2s_pickle_value *const *values, size_t count)
{
    m2snet_status status;
    m2s_pickle_value *list = NULL;

    M2S_TRY(new_value(m, kind, &list));
    M2S_TRY(append(m, &list->u.list, values, count)); /* before the push, which may overwrite what was popped */
    M2S_TRY(push(m, list));

fail:
    return status;
}

static m2snet_status push_tuple(machine *m, size_t count)
{
    m2s_pickle_value **values = NULL;
    m2snet_status status = pop(m, count, &values);

    return status == M2SNET_STATUS_OK ? push_list(m, M2S_PICKLE_TUPLE, values, count) : status;
}

static m2snet_status push_marked(machine *m, m2s_pickle_kind kind)
{
    m2s_pickle_value **values = NULL;
    size_t count = 0;
    m2snet_status status = pop_mark(m, &values, &count);

    if (status == M2SNET_STATUS_OK && kind == M2S_PICKLE_DICT && count % 2 != 0) {
        return BAD(m, "a dict with a key that has no value");
    }
    return status == M2SNET_STATUS_OK ? push_list(m, kind, values, count) : status;
}

/* APPEND(S), ADDITEMS, SETITEM(S): into what stands below the values. Opaque objects swallow them. */
static m2snet_status add_to_container(machine *m, m2s_pickle_kind kind, m2s_pickle_value *const *values, size_t count)
{
    m2s_pickle_value *container = NULL;
    m2snet_status status = top(m, &container);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    if (kind == M2S_PICKLE_DICT && count % 2 != 0) {
        return BAD(m, "a dict with a key that has no value");
    }
    if (container->kind == M2S_PICKLE_OPAQUE) {
        return M2SNET_STATUS_OK;
    }
    if (container->kind != kind) {
        return BAD(m, "elements are added to %s", m2s_pickle_describe(container).text);
    }
    return append(m, &container->u.list, values, count);
}

static m2snet_status add_popped(machine *m, m2s_pickle_kind kind, size_t count)
{
    m2s_pickle_value **values = NULL;
    m2snet_status status = pop(m, count, &values);

    return status == M2SNET_STATUS_OK ? add_to_container(m, kind, values, count) : status;
}

static m2snet_status add_marked(machine *m, m2s_pickle_kind kind)
{
    m2s_pickle_value **values = NULL;
    size_t count = 0;
    m2snet_status status = pop_mark(m, &values, &count);

    return status == M2SNET_STATUS_OK ? add_to_container(m, kind, values, count) : status;
}

/* ---- names, objects, tensors ---- */

static void classify(m2s_pickle_global *global)
{
    m2s_pickle_text module = global->module;
    m2s_pickle_text name = global->name;

    for (size_t i = 0; i < COUNT_OF(globals); i++) {
        if (m2s_pickle_text_is(module, globals[i].module) && m2s_pickle_text_is(name, globals[i].name)) {
            global->role = (int)globals[i].role;
            return;
        }
    }
    bool torch = m2s_pickle_text_is(module, "torch");
    if (!torch && !m2s_pickle_text_is(module, "torch.cuda") && !m2s_pickle_text_is(module, "torch.storage")) {
        return;
    }
    for (size_t i = 0; i < COUNT_OF(dtypes) && name.bytes > 0; i++) {
        bool storage = m2s_pickle_text_is(name, dtypes[i].storage);
        if (storage || (torch && m2s_pickle_text_is(name, dtypes[i].name))) {
            global->role = storage ? ROLE_STORAGE : ROLE_DTYPE;
            global->dtype = &dtypes[i];
            return;
        }
    }
}

static m2snet_status push_global(machine *m, m2s_pickle_text module, m2s_pickle_text name)
{
    m2snet_status status;
    m2s_pickle_value *value = NULL;

    M2S_TRY(push_new(m, M2S_PICKLE_GLOBAL, &value));
    value->u.global = m2s_pile_alloc(m->pickle->pile, sizeof *value->u.global);
    if (value->u.global == NULL) {
        return out_of_memory(m, sizeof *value->u.global);
    }
    value->u.global->module = module;
    value->u.global->name = name;
    classify(value->u.global);

fail:
    return status;
}

static m2snet_status push_named_global(machine *m)
{
    m2snet_status status;
    m2s_pickle_text module = { 0 };
    m2s_pickle_text name = { 0 };

    M2S_TRY(take_line(m, &module));
    M2S_TRY(take_line(m, &name));
    M2S_TRY(push_global(m, module, name));

fail:
    return status;
}

static m2snet_status push_stack_global(machine *m)
{
    m2s_pickle_value **values = NULL;
    m2snet_status status = pop(m, 2, &values);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    if (values[0]->kind != M2S_PICKLE_STRING || values[1]->kind != M2S_PICKLE_STRING) {
        return BAD(m, "a name made of %s and %s", m2s_pickle_describe(values[0]).text,
                   m2s_pickle_describe(values[1]).text);
    }
    return push_global(m, values[0]->u.text, values[1]->u.text);
}

static int role_of(const m2s_pickle_value *value)
{
    return value->kind == M2S_PICKLE_GLOBAL ? value->u.global->role : ROLE_OPAQUE;
}

static m2snet_status make_opaque(machine *m, const m2s_pickle_value *maker, m2s_pickle_value **value)
{
    m2snet_status status = new_value(m, M2S_PICKLE_OPAQUE, value);

    if (status == M2SNET_STATUS_OK) {
        (*value)->u.maker = maker->kind == M2S_PICKLE_OPAQUE ? maker->u.maker : maker;
    }
    return status;
}

/* OrderedDict() or, from Python 2, OrderedDict([[key, value], ...]). */
static m2snet_status make_dict(machine *m, const m2s_pickle_items *arguments, m2s_pickle_value **value)
{
    m2snet_status status = new_value(m, M2S_PICKLE_DICT, value);

    if (status != M2SNET_STATUS_OK || arguments->count != 1 || arguments->items[0]->kind != M2S_PICKLE_LIST) {
        return status; /* a defaultdict's argument is the factory */
    }
    const m2s_pickle_items *pairs = &arguments->items[0]->u.list;
    status = count_values(m, pairs->count); /* the same list may be named again and again */
    for (size_t i = 0; i < pairs->count && status == M2SNET_STATUS_OK; i++) {
        const m2s_pickle_value *pair = pairs->items[i];
        if ((pair->kind != M2S_PICKLE_LIST && pair->kind != M2S_PICKLE_TUPLE) || pair->u.list.count != 2) {
            return BAD(m, "OrderedDict made from %s, expected pairs", m2s_pickle_describe(pair).text);
        }
        status = append(m, &(*value)->u.list, pair->u.list.items, 2);
    }
    return status;
}

static bool are_sizes(const m2s_pickle_value *value)
{
    if (value->kind != M2S_PICKLE_TUPLE) {
        return false;
    }
    for (size_t i = 0; i < value->u.list.count; i++) {
        if (value->u.list.items[i]->kind != M2S_PICKLE_INTEGER || value->u.list.items[i]->u.integer < 0) {
            return false;
        }
    }
    return true;
}

/* (storage, offset, size, stride, ...) */
static m2snet_status make_tensor(machine *m, const m2s_pickle_value *maker, const m2s_pickle_items *arguments,
                                 m2s_pickle_value **value)
{
    m2s_pickle_value *const *a = arguments->items;
    bool typed = role_of(maker) == ROLE_REBUILD_TENSOR_DTYPE;

    if (arguments->count > 0 && a[0]->kind == M2S_PICKLE_OPAQUE) {
        return make_opaque(m, maker, value);
    }
    if (arguments->count < (typed ? 7u : 4u) || a[0]->kind != M2S_PICKLE_STORAGE || a[1]->kind != M2S_PICKLE_INTEGER ||
        a[1]->u.integer < 0 || !are_sizes(a[2]) || !are_sizes(a[3]) || a[2]->u.list.count != a[3]->u.list.count) {
        return BAD(m, "a tensor's arguments are not (storage, offset, size, stride)");
    }
    if (typed && role_of(a[6]) != ROLE_DTYPE) {
        return make_opaque(m, maker, value);
    }
    m2s_pickle_tensor *tensor = m2s_pile_alloc(m->pickle->pile, sizeof *tensor);
    if (tensor == NULL) {
        return out_of_memory(m, sizeof *tensor);
    }
    tensor->storage = a[0]->u.storage;
    tensor->dtype = typed ? a[6]->u.global->dtype : a[0]->u.storage->dtype;
    tensor->offset = a[1]->u.integer;
    tensor->dims = &a[2]->u.list;
    tensor->strides = &a[3]->u.list;
    m2snet_status status = new_value(m, M2S_PICKLE_TENSOR, value);
    if (status == M2SNET_STATUS_OK) {
        (*value)->u.tensor = tensor;
    }
    return status;
}

/* What calling `maker` with `arguments` stands for. */
static m2snet_status make_result(machine *m, const m2s_pickle_value *maker, const m2s_pickle_items *arguments,
                                 m2s_pickle_value **value)
{
    m2s_pickle_value *const *a = arguments->items;

    switch (role_of(maker)) {
    case ROLE_DICT:
        return make_dict(m, arguments, value);
    case ROLE_REBUILD_TENSOR:
    case ROLE_REBUILD_TENSOR_DTYPE:
        return make_tensor(m, maker, arguments, value);
    case ROLE_REBUILD_PARAMETER:
        if (arguments->count > 0 && (a[0]->kind == M2S_PICKLE_TENSOR || a[0]->kind == M2S_PICKLE_OPAQUE)) {
            *value = a[0];
            return M2SNET_STATUS_OK;
        }
        break;
    case ROLE_SIZE:
        if (arguments->count == 1 && a[0]->kind == M2S_PICKLE_TUPLE) {
            *value = a[0];
            return M2SNET_STATUS_OK;
        }
        break;
    case ROLE_REBUILD_TYPED: /* a tensor with Python attributes; of a class with a meaning of its own: opaque */
        if (arguments->count >= 3 && a[2]->kind == M2S_PICKLE_TUPLE && role_of(a[0]) != ROLE_REBUILD_TYPED) {
            return role_of(a[1]) == ROLE_TENSOR_CLASS ? make_result(m, a[0], &a[2]->u.list, value)
                                                      : make_opaque(m, a[1], value);
        }
        break;
    default:
        break;
    }
    return make_opaque(m, maker, value);
}

/* REDUCE, NEWOBJ: class or function, tuple of arguments. NEWOBJ_EX: and a dict. */
static m2snet_status call(machine *m, size_t operands)
{
    m2s_pickle_value **values = NULL;
    m2s_pickle_value *value = NULL;
    m2snet_status status = pop(m, operands, &values);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    if (values[1]->kind != M2S_PICKLE_TUPLE) {
        return BAD(m, "%s called with %s, expected a tuple", m2s_pickle_describe(values[0]).text,
                   m2s_pickle_describe(values[1]).text);
    }
    status = make_result(m, values[0], &values[1]->u.list, &value);
    return status == M2SNET_STATUS_OK ? push(m, value) : status;
}

/* OBJ: class and arguments above a mark. */
static m2snet_status push_object(machine *m)
{
    m2s_pickle_value **values = NULL;
    m2s_pickle_value *value = NULL;
    size_t count = 0;
    m2snet_status status = pop_mark(m, &values, &count);

    if (status == M2SNET_STATUS_OK && count == 0) {
        return BAD(m, "an object without a class");
    }
    if (status == M2SNET_STATUS_OK) {
        status = make_opaque(m, values[0], &value);
    }
    return status == M2SNET_STATUS_OK ? push(m, value) : status;
}

/* ("storage", class, key, location, count[, None or (key, offset, count)]) */
static m2snet_status make_storage(machine *m, const m2s_pickle_items *id, m2s_pickle_value **value)
{
    m2snet_status status;
    m2s_pickle_value *const *a = id->items;
    void *storages = m->pickle->storages;

    if (id->count < 5 || a[2]->kind != M2S_PICKLE_STRING || a[4]->kind != M2S_PICKLE_INTEGER || a[4]->u.integer < 0) {
        return BAD(m, "a storage's description is not (\"storage\", class, key, location, count)");
    }
    if (role_of(a[1]) != ROLE_STORAGE) {
        return m2s_fail(m->error, M2SNET_STATUS_UNSUPPORTED, "pickle, byte %zu: a storage of an unknown class: %s",
                        (size_t)(m->next - m->start), m2s_pickle_describe(a[1]).text);
    }
    m2s_pickle_storage *storage = m2s_pile_alloc(m->pickle->pile, sizeof *storage);
    if (storage == NULL) {
        return out_of_memory(m, sizeof *storage);
    }
    storage->key = a[2]->u.text;
    storage->dtype = a[1]->u.global->dtype;
    storage->count = a[4]->u.integer;
    storage->view_count = storage->count;
    storage->root = storage;
    if (id->count > 5 && a[5]->kind != M2S_PICKLE_NONE) {
        const m2s_pickle_items *view = &a[5]->u.list;
        if (!(a[5]->kind == M2S_PICKLE_TUPLE && view->count == 3 && view->items[1]->kind == M2S_PICKLE_INTEGER &&
              view->items[2]->kind == M2S_PICKLE_INTEGER)) {
            return BAD(m, "a storage's view is not (key, offset, count)");
        }
        storage->view_offset = view->items[1]->u.integer;
        storage->view_count = view->items[2]->u.integer;
        if (storage->view_offset < 0 || storage->view_offset > storage->count || storage->view_count < 0 ||
            storage->view_count > storage->count - storage->view_offset) {
            return BAD(m, "a storage's view %" PRId64 "+%" PRId64 " lies outside its %" PRId64 " elements",
                       storage->view_offset, storage->view_count, storage->count);
        }
    }
    status = grow(m, &storages, m->pickle->storage_count, &m->pickle->storage_capacity, sizeof *m->pickle->storages);
    m->pickle->storages = storages;
    if (status == M2SNET_STATUS_OK) {
        status = new_value(m, M2S_PICKLE_STORAGE, value);
    }
    if (status == M2SNET_STATUS_OK) {
        m->pickle->storages[m->pickle->storage_count++] = storage;
        (*value)->u.storage = storage;
    }
    return status;
}

/* BINPERSID. */
static m2snet_status push_persistent(machine *m)
{
    m2s_pickle_value **values = NULL;
    m2s_pickle_value *value = NULL;
    m2snet_status status = pop(m, 1, &values);

    if (status != M2SNET_STATUS_OK) {
        return status;
    }
    const m2s_pickle_items *id = &values[0]->u.list;
    if (values[0]->kind != M2S_PICKLE_TUPLE || id->count == 0 || id->items[0]->kind != M2S_PICKLE_STRING) {
        return BAD(m, "a persistent id that is not PyTorch's");
    }
    if (m2s_pickle_text_is(id->items[0]->u.text, "storage")) {
        status = make_storage(m, id, &value);
    } else if (m2s_pickle_text_is(id->items[0]->u.text, "module") && id->count > 1) {
        value = id->items[1]; /* a class, with its source text */
    } else {
        return BAD(m, "a persistent id %s, expected \"storage\"",
                   m2s_quote(id->items[0]->u.text.start, id->items[0]->u.text.bytes).text);
    }
    return status == M2SNET_STATUS_OK ? push(m, value) : status;
}

static m2snet_status skip(machine *m, size_t count)
{
    m2s_pickle_value **values = NULL;

    return pop(m, count, &values);
}

/* POP drops a value, or the mark when that is on top. */
static m2snet_status drop(machine *m)
{
    if (m->mark_count > 0 && m->marks[m->mark_count - 1] == m->depth) {
        m->mark_count--;
        return M2SNET_STATUS_OK;
    }
    return skip(m, 1);
}

static m2snet_status check_protocol(machine *m)
{
    uint64_t protocol = 0;
    m2snet_status status = take_number(m, 1, &protocol);

    if (status == M2SNET_STATUS_OK && protocol > MAX_PROTOCOL) {
        return m2s_fail(m->error, M2SNET_STATUS_UNSUPPORTED, "pickle: protocol %" PRIu64 ", expected 2..%u", protocol,
                        MAX_PROTOCOL);
    }
    return status;
}

static m2snet_status check_frame(machine *m)
{
    uint64_t frame = 0;
    m2snet_status status = take_number(m, 8, &frame);

    if (status == M2SNET_STATUS_OK && frame > (uint64_t)(m->end - m->next)) {
        return BAD(m, "a frame of %" PRIu64 " bytes, %zu are there: the file is cut off or damaged", frame,
                   (size_t)(m->end - m->next));
    }
    return status;
}

static m2snet_status step(machine *m, unsigned char opcode)
{
    m2s_pickle_value *value = NULL;
    m2s_pickle_value **values = NULL;
    uint64_t number = 0;
    size_t count = 0;
    m2snet_status status;

    switch (opcode) {
    case 0x80: /* PROTO */
        return check_protocol(m);
    case 0x95: /* FRAME */
        return check_frame(m);
    case '(': /* MARK */
        return push_mark(m);
    case '0': /* POP */
        return drop(m);
    case '1': /* POP_MARK */
        return pop_mark(m, &values, &count);
    case '2': /* DUP */
        status = top(m, &value);
        return status == M2SNET_STATUS_OK ? push(m, value) : status;

    case 'N': /* NONE */
        return push_new(m, M2S_PICKLE_NONE, &value);
    case 0x88: /* NEWTRUE */
        return push_bool(m, true);
    case 0x89: /* NEWFALSE */
        return push_bool(m, false);
    case 'J': /* BININT */
        status = take_number(m, 4, &number);
        return status == M2SNET_STATUS_OK ? push_integer(m, (int32_t)(uint32_t)number) : status;
    case 'K': /* BININT1 */
        status = take_number(m, 1, &number);
        return status == M2SNET_STATUS_OK ? push_integer(m, (int64_t)number) : status;
    case 'M': /* BININT2 */
        status = take_number(m, 2, &number);
        return status == M2SNET_STATUS_OK ? push_integer(m, (int64_t)number) : status;
    case 0x8a: /* LONG1 */
        return push_long(m, 1);
    case 0x8b: /* LONG4 */
        return push_long(m, 4);
    case 'I': /* INT */
    case 'L': /* LONG */
        return push_decimal(m);
    case 'G': /* BINFLOAT */
        return push_real(m);

    case 'X': /* BINUNICODE */
    case 'T': /* BINSTRING */
        return push_text(m, M2S_PICKLE_STRING, 4);
    case 0x8c: /* SHORT_BINUNICODE */
    case 'U':  /* SHORT_BINSTRING */
        return push_text(m, M2S_PICKLE_STRING, 1);
    case 0x8d: /* BINUNICODE8 */
        return push_text(m, M2S_PICKLE_STRING, 8);
    case 'B': /* BINBYTES */
        return push_text(m, M2S_PICKLE_BYTES, 4);
    case 'C': /* SHORT_BINBYTES */
        return push_text(m, M2S_PICKLE_BYTES, 1);
    case 0x8e: /* BINBYTES8 */
    case 0x96: /* BYTEARRAY8 */
        return push_text(m, M2S_PICKLE_BYTES, 8);

    case ')': /* EMPTY_TUPLE */
        return push_tuple(m, 0);
    case 0x85: /* TUPLE1 */
        return push_tuple(m, 1);
    case 0x86: /* TUPLE2 */
        return push_tuple(m, 2);
    case 0x87: /* TUPLE3 */
        return push_tuple(m, 3);
    case 't': /* TUPLE */
        return push_marked(m, M2S_PICKLE_TUPLE);
    case ']':  /* EMPTY_LIST */
    case 0x8f: /* EMPTY_SET */
        return push_new(m, M2S_PICKLE_LIST, &value);
    case 'l':  /* LIST */
    case 0x91: /* FROZENSET */
        return push_marked(m, M2S_PICKLE_LIST);
    case 'a': /* APPEND */
        return add_popped(m, M2S_PICKLE_LIST, 1);
    case 'e':  /* APPENDS */
    case 0x90: /* ADDITEMS */
        return add_marked(m, M2S_PICKLE_LIST);
    case '}': /* EMPTY_DICT */
        return push_new(m, M2S_PICKLE_DICT, &value);
    case 'd': /* DICT */
        return push_marked(m, M2S_PICKLE_DICT);
    case 's': /* SETITEM */
        return add_popped(m, M2S_PICKLE_DICT, 2);
    case 'u': /* SETITEMS */
        return add_marked(m, M2S_PICKLE_DICT);

    case 'q': /* BINPUT */
        status = take_number(m, 1, &number);
        return status == M2SNET_STATUS_OK ? memo_put(m, number) : status;
    case 'r': /* LONG_BINPUT */
        status = take_number(m, 4, &number);
        return status == M2SNET_STATUS_OK ? memo_put(m, number) : status;
    case 0x94: /* MEMOIZE */
        return memo_put(m, m->memo_count);
    case 'h': /* BINGET */
        status = take_number(m, 1, &number);
        return status == M2SNET_STATUS_OK ? memo_get(m, number) : status;
    case 'j': /* LONG_BINGET */
        status = take_number(m, 4, &number);
        return status == M2SNET_STATUS_OK ? memo_get(m, number) : status;

    case 'c': /* GLOBAL */
        return push_named_global(m);
    case 0x93: /* STACK_GLOBAL */
        return push_stack_global(m);
    case 'R':  /* REDUCE */
    case 0x81: /* NEWOBJ */
        return call(m, 2);
    case 0x92: /* NEWOBJ_EX */
        return call(m, 3);
    case 'o': /* OBJ */
        return push_object(m);
    case 'b': /* BUILD: an object's state, which no value here keeps */
        return skip(m, 1);
    case 'Q': /* BINPERSID */
        return push_persistent(m);
    default:
        m->next--;
        return BAD(m, "opcode 0x%02x is none that PyTorch writes with pickle protocols 2 to 5", (unsigned)opcode);
    }
}

m2snet_status m2s_pickle_read(m2s_pickle *pickle, const void *data, size_t bytes, size_t *used,
                              m2s_pickle_value **value, m2snet_error *error)
{
    m2snet_status status;
    machine m = {
        .pickle = pickle, .start = data, .next = data, .end = (const unsigned char *)data + bytes, .error = error
    };
    const unsigned char *opcode = NULL;
    m2s_pickle_value **values = NULL;

    m.stack = m2s_alloc_array(pickle->memory, FIRST_STACK, sizeof *m.stack);
    if (m.stack == NULL) {
        return out_of_memory(&m, FIRST_STACK * sizeof *m.stack);
    }
    m.stack_capacity = FIRST_STACK;
    for (;;) {
        M2S_TRY(take(&m, 1, &opcode));
        if (*opcode == '.') { /* STOP */
            break;
        }
        if (++m.opcodes > M2S_PICKLE_MAX_OPCODES) {
            status = m2s_fail(error, M2SNET_STATUS_LIMIT, "pickle: more than %u opcodes", M2S_PICKLE_MAX_OPCODES);
            goto fail;
        }
        M2S_TRY(step(&m, *opcode));
    }
    M2S_TRY(pop(&m, 1, &values));
    *value = values[0];
    *used = (size_t)(m.next - m.start);

fail:
    m2s_free(pickle->memory, m.stack);
    m2s_free(pickle->memory, m.marks);
    m2s_free(pickle->memory, m.memo);
    return status;
}
