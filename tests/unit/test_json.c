/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include <math.h>

#include "common/comma_locale.h"
#include "common/faults.h"
#include "core/json.h"
#include "core/quote.h"

static const m2s_json_source config = { "config", M2SNET_STATUS_INVALID_ARGUMENT };
static const m2s_json_source file = { "header", M2SNET_STATUS_FORMAT };

static m2s_json *parse(const char *text)
{
    m2snet_error error = { 0 };
    m2s_json *json = NULL;

    if (m2s_json_parse(&config, text, strlen(text), &json, &error) != M2SNET_STATUS_OK) {
        fail_msg("%s: %s", text, error.message);
    }
    return json;
}

static void assert_message(const m2snet_error *error, const char *part)
{
    if (strstr(error->message, part) == NULL) {
        fail_msg("expected \"%s\" in \"%s\"", part, error->message);
    }
}

static void assert_refused(const char *text, size_t bytes, const char *part)
{
    m2snet_error error = { 0 };
    m2s_json *json = (m2s_json *)&error;

    assert_int_equal(m2s_json_parse(&file, text, bytes, &json, &error), M2SNET_STATUS_FORMAT);
    assert_null(json);
    assert_message(&error, part);
}

static void reads_every_kind(void **state)
{
    m2s_json *json =
        parse("{\"s\": \"a\\u00e9\\n\", \"i\": -9223372036854775808, \"r\": 0.485, \"t\": true, \"n\": null,"
              " \"a\": [1, 2.5, \"x\"], \"o\": {\"k\": {}}}");
    const char *keys[] = { "s", "i", "r", "t", "n", "a", "o" };
    m2s_json_kind kinds[] = { M2S_JSON_STRING, M2S_JSON_INTEGER, M2S_JSON_REAL,  M2S_JSON_BOOL,
                              M2S_JSON_NULL,   M2S_JSON_ARRAY,   M2S_JSON_OBJECT };
    m2s_json_cursor cursor = { 0 };
    size_t count = 0;
    size_t bytes = 0;
    int64_t integer = 0;
    double number = 0;

    (void)state;
    while (m2s_json_next(json, &cursor)) {
        assert_string_equal(cursor.key, keys[count]);
        assert_int_equal(cursor.key_bytes, 1);
        assert_int_equal(m2s_json_kind_of(cursor.value), kinds[count]);
        count++;
    }
    assert_int_equal(count, 7);
    assert_int_equal(m2s_json_count(json), 7);
    assert_string_equal(m2s_json_string(m2s_json_find(json, "s"), &bytes), "a\xc3\xa9\n");
    assert_int_equal(bytes, 4);
    assert_true(m2s_json_integer(m2s_json_find(json, "i"), &integer));
    assert_true(integer == INT64_MIN);
    assert_true(m2s_json_number(m2s_json_find(json, "r"), &number) && number == 0.485);
    assert_false(m2s_json_integer(m2s_json_find(json, "r"), &integer));
    assert_true(m2s_json_number(m2s_json_at(m2s_json_find(json, "a"), 0), &number) && number == 1.0);
    assert_null(m2s_json_at(m2s_json_find(json, "a"), 3));
    assert_null(m2s_json_find(json, "absent"));
    assert_null(m2s_json_find(m2s_json_find(json, "a"), "k"));
    assert_null(m2s_json_string(json, NULL));
    const char *known[] = { "s", "i", "r", "t", "n", "a" };
    assert_string_equal(m2s_json_unknown_key(json, known, 6), "o");
    m2s_json_free(json);
    m2s_json_free(NULL);
}

static void refuses_what_is_not_json(void **state)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        { "", "header" },
        { "{", "line 1, column" },
        { "{\"a\": 1,}", "line 1, column" },
        { "{\"a\": 1}x", "column" },
        { "{\n  \"a\": 1,\n  \"a\": 2}", "line 3, column 5: duplicate object key" },
        { "{\"a\": nan}", "line 1" },
        { "{\"a\": Infinity}", "line 1" },
        { "{\"a\": 1e999}", "real number overflow" },
        { "{\"a\": 99999999999999999999}", "too big integer" },
        { "{\"a\": \"\\u0000\"}", "line 1" },
        { "{\"a\": 01}", "line 1" },
        { "{\"a\": \"\xff\"}", "header" },
        { "{'a': 1}", "line 1" },
        { "3", "line 1" },
        { "{\"a\": \"unterminated", "line 1" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_refused(cases[i].text, strlen(cases[i].text), cases[i].part);
    }
    assert_refused("{\"a\0\": 1}", 9, "line 1");
    assert_refused("{}\0", 3, "line 1");
}

static void refuses_depth_and_size(void **state)
{
    char deep[2 * 65 + 1];
    m2snet_error error = { 0 };
    m2s_json *json = NULL;
    m2s_memory memory;

    (void)state;
    memset(deep, '[', 65);
    memset(deep + 65, ']', 65);
    assert_refused(deep, 130, "nested deeper than 64 levels");
    memset(deep, '[', 64);
    memset(deep + 64, ']', 64);
    assert_int_equal(m2s_json_parse(&file, deep, 128, &json, &error), M2SNET_STATUS_OK);
    m2s_json_free(json);
    json = parse("{\"a\": \"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\\\"[[[[[[\"}");
    m2s_json_free(json);

    m2s_memory_init(&memory, NULL, 0);
    size_t bytes = 2 * (size_t)M2S_JSON_MAX_VALUES + 4;
    char *wide = m2s_alloc(&memory, bytes);
    assert_non_null(wide);
    for (size_t i = 0; i < bytes; i++) {
        wide[i] = i % 2 == 1 ? '1' : ',';
    }
    wide[0] = '[';
    wide[bytes - 1] = ']';
    assert_int_equal(m2s_json_parse(&file, wide, bytes, &json, &error), M2SNET_STATUS_LIMIT);
    assert_message(&error, "more than 2097152 values");
    m2s_free(&memory, wide);
}

/* A NULL error must be fine everywhere; one call stands for all, they share the function that writes it. */
static void getters_say_what_they_expected(void **state)
{
    m2s_json *json =
        parse("{\"input_size\": \"abc\", \"threshold\": 1.5, \"big\": 9000, \"flag\": 1, \"name\": 3,"
              " \"mean\": [0.5, 0.25], \"scales\": [1, \"3\"], \"list\": {}, \"good\": [1, 3, 5], \"zero\": 0}");
    m2snet_error error = { 0 };
    int64_t integer = 352;
    double number = 0.5;
    bool flag = true;
    const char *text = "before";
    int64_t scales[8] = { 7 };
    double mean[3] = { 7 };
    size_t count = 99;
    size_t index = 99;
    m2s_json *child = NULL;
    static const char *const words[] = { "m2snet", "msnet" };

    (void)state;
    assert_int_equal(m2s_json_get_integer(&config, json, "input_size", M2S_JSON_OPTIONAL, 33, 8192, &integer, &error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    assert_string_equal(error.message, "config key \"input_size\": expected an integer 33..8192, got \"abc\"");
    assert_int_equal(m2s_json_get_integer(&config, json, "big", M2S_JSON_OPTIONAL, 33, 8192, &integer, NULL),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    assert_int_equal(m2s_json_get_integer(&config, json, "absent", M2S_JSON_OPTIONAL, 33, 8192, &integer, &error),
                     M2SNET_STATUS_OK);
    assert_int_equal(m2s_json_get_integer(&file, json, "absent", M2S_JSON_REQUIRED, 33, 8192, &integer, &error),
                     M2SNET_STATUS_FORMAT);
    assert_string_equal(error.message, "header key \"absent\": expected an integer 33..8192, got nothing");
    assert_int_equal(integer, 352);
    assert_int_equal(m2s_json_get_number(&config, json, "threshold", M2S_JSON_REQUIRED, 0, 1, &number, &error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    assert_string_equal(error.message, "config key \"threshold\": expected a number 0.0..1.0, got 1.5");
    assert_true(number == 0.5);
    assert_int_equal(m2s_json_get_number(&config, json, "zero", M2S_JSON_REQUIRED, 0, 1, &number, &error), 0);
    assert_true(number == 0.0);
    assert_int_equal(m2s_json_get_bool(&config, json, "flag", M2S_JSON_REQUIRED, &flag, &error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    assert_string_equal(error.message, "config key \"flag\": expected true or false, got 1");
    assert_int_equal(m2s_json_get_string(&config, json, "name", M2S_JSON_REQUIRED, &text, &error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    assert_string_equal(text, "before");
    assert_int_equal(m2s_json_get_choice(&config, json, "input_size", M2S_JSON_REQUIRED, words, 2, &index, &error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    assert_string_equal(error.message, "config key \"input_size\": expected one of \"m2snet\", \"msnet\", got \"abc\"");
    assert_int_equal(index, 99);
    assert_int_equal(m2s_json_get_numbers(&config, json, "mean", M2S_JSON_REQUIRED, 3, 3, 0, 1, mean, &count, &error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    assert_string_equal(error.message, "config key \"mean\": expected an array of 3 numbers, got an array of 2");
    assert_int_equal(
        m2s_json_get_integers(&config, json, "scales", M2S_JSON_REQUIRED, 1, 8, 1, 99, scales, &count, &error),
        M2SNET_STATUS_INVALID_ARGUMENT);
    assert_string_equal(error.message,
                        "config key \"scales\": expected integers 1..99 in the array (number 2), got \"3\"");
    assert_true(scales[0] == 7 && mean[0] == 7 && count == 99);
    assert_int_equal(
        m2s_json_get_integers(&config, json, "good", M2S_JSON_REQUIRED, 1, 8, 1, 99, scales, &count, &error), 0);
    assert_true(count == 3 && scales[0] == 1 && scales[1] == 3 && scales[2] == 5);
    assert_int_equal(m2s_json_get_numbers(&config, json, "good", M2S_JSON_REQUIRED, 1, 3, 1, 99, mean, &count, &error),
                     0);
    assert_true(mean[2] == 5);
    assert_int_equal(m2s_json_get_child(&config, json, "list", M2S_JSON_REQUIRED, M2S_JSON_ARRAY, &child, &error),
                     M2SNET_STATUS_INVALID_ARGUMENT);
    assert_string_equal(error.message, "config key \"list\": expected an array, got an object");
    assert_int_equal(m2s_json_get_child(&config, json, "list", M2S_JSON_REQUIRED, M2S_JSON_OBJECT, &child, &error), 0);
    assert_ptr_equal(child, m2s_json_find(json, "list"));
    m2s_json_free(json);
}

static char *build_and_write(m2s_memory *memory, int style)
{
    m2snet_error error = { 0 };
    m2s_json *root = NULL;
    m2s_json *child = NULL;
    m2s_json *copy = parse("{\"k\": [true, null]}");
    char *text = NULL;
    size_t bytes = 0;

    assert_int_equal(m2s_json_object(&root, &error), 0);
    assert_int_equal(m2s_json_put_string(root, "z", "a \"b\"\\\n\t\x01 \xc3\xa9", &error), 0);
    assert_int_equal(m2s_json_put_number(root, "third", 1.0 / 3, &error), 0);
    assert_int_equal(m2s_json_put_number(root, "mean", 0.485, &error), 0);
    assert_int_equal(m2s_json_put_number(root, "one", 1, &error), 0);
    assert_int_equal(m2s_json_put_number(root, "tiny", -5e-324, &error), 0);
    assert_int_equal(m2s_json_put_integer(root, "big", INT64_MIN, &error), 0);
    assert_int_equal(m2s_json_put_child(root, "list", M2S_JSON_ARRAY, &child, &error), 0);
    assert_int_equal(m2s_json_put_number(child, NULL, 0.5, &error), 0);
    assert_int_equal(m2s_json_put_integer(child, NULL, 2, &error), 0);
    assert_int_equal(m2s_json_put_copy(root, "copy", copy, &error), 0);
    assert_int_equal(m2s_json_put_bool(root, "gone", true, &error), 0);
    m2s_json_remove(root, "gone");
    m2s_json_free(copy);
    assert_int_equal(m2s_json_write(memory, root, style, &text, &bytes, &error), 0);
    assert_int_equal(strlen(text), bytes);
    m2s_json_free(root);
    return text;
}

static const char compact[] =
    "{\"z\":\"a \\\"b\\\"\\\\\\n\\t\\u0001 \xc3\xa9\",\"third\":0.3333333333333333,\"mean\":0.485,\"one\":1.0,"
    "\"tiny\":-5e-324,\"big\":-9223372036854775808,\"list\":[0.5,2],\"copy\":{\"k\":[true,null]}}";

static void writes_in_every_style(void **state)
{
    m2s_memory memory;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    char *text = build_and_write(&memory, M2S_JSON_COMPACT);
    assert_string_equal(text, compact);
    m2s_json *back = parse(text);
    double third = 0;
    assert_true(m2s_json_number(m2s_json_find(back, "third"), &third) && third == 1.0 / 3);
    m2s_json_free(back);
    m2s_free(&memory, text);
    text = build_and_write(&memory, M2S_JSON_SORTED);
    assert_true(strncmp(text, "{\"big\":-9223372036854775808,\"copy\":{", 35) == 0);
    m2s_free(&memory, text);
    text = build_and_write(&memory, M2S_JSON_INDENT);
    assert_non_null(strstr(text, "\n  \"list\": [0.5, 2],\n  \"copy\": {\n    \"k\": [true, null]\n  }\n}"));
    m2s_free(&memory, text);
    assert_int_equal(atomic_load(&memory.used_bytes), 0);
}

static void comma_locale_changes_nothing(void **state)
{
    m2s_memory memory;

    (void)state;
    if (!comma_locale_enter()) {
        skip();
    }
    m2s_memory_init(&memory, NULL, 0);
    char *text = build_and_write(&memory, M2S_JSON_COMPACT);
    m2s_json *json = parse("{\"a\": 0.485, \"e\": 1.5e-3}");
    double a = 0;
    double e = 0;
    bool read = m2s_json_number(m2s_json_find(json, "a"), &a) && m2s_json_number(m2s_json_find(json, "e"), &e);
    m2snet_error error = { 0 };
    m2s_json_get_number(&config, json, "a", M2S_JSON_REQUIRED, 0.5, 1, &a, &error);
    comma_locale_leave();
    assert_string_equal(text, compact);
    assert_true(read && a == 0.485 && e == 1.5e-3);
    assert_string_equal(error.message, "config key \"a\": expected a number 0.5..1.0, got 0.485");
    m2s_json_free(json);
    m2s_free(&memory, text);
}

static void refuses_to_build_nonsense(void **state)
{
    m2snet_error error = { 0 };
    m2s_json *root = NULL;

    (void)state;
    assert_int_equal(m2s_json_object(&root, &error), 0);
    assert_int_equal(m2s_json_put_number(root, "a", (double)NAN, &error), M2SNET_STATUS_INVALID_ARGUMENT);
    assert_string_equal(error.message, "JSON key \"a\": expected a finite number, got NaN");
    assert_int_equal(m2s_json_put_number(root, "a", -(double)INFINITY, &error), M2SNET_STATUS_INVALID_ARGUMENT);
    assert_int_equal(m2s_json_put_string(root, "a", "\xc3", &error), M2SNET_STATUS_INVALID_ARGUMENT);
    assert_int_equal(m2s_json_put_integer(root, "\xff", 1, &error), M2SNET_STATUS_INVALID_ARGUMENT);
    assert_int_equal(m2s_json_put_integer(root, "a", 1, &error), 0);
    assert_int_equal(m2s_json_put_integer(root, "a", 2, &error), 0);
    assert_int_equal(m2s_json_count(root), 1);
    m2s_json_free(root);
}

static void out_of_memory_is_an_error(void **state)
{
    m2s_json *json = parse(compact);
    m2snet_error error = { 0 };

    (void)state;
    for (size_t n = 1;; n++) {
        faults f = { .fail_at = n };
        m2snet_allocator allocator = faults_allocator(&f);
        m2s_memory memory;
        char *text = NULL;
        m2s_memory_init(&memory, &allocator, 0);
        m2snet_status status = m2s_json_write(&memory, json, M2S_JSON_SORTED, &text, NULL, &error);
        assert_int_equal(status, f.calls < n ? M2SNET_STATUS_OK : M2SNET_STATUS_OUT_OF_MEMORY);
        m2s_free(&memory, text);
        assert_int_equal(f.live, 0);
        if (f.calls < n) {
            break;
        }
    }
    m2s_json_free(json);
}

static void quotes_what_a_terminal_should_not_see(void **state)
{
    char longer[300];

    (void)state;
    assert_string_equal(m2s_quote("a\x1b[31m\n\xff", 8).text, "\"a?[31m??\"");
    assert_string_equal(m2s_quote("", 0).text, "\"\"");
    assert_string_equal(m2s_quote("\xed\xa0\x80", 3).text, "\"???\"");
    memset(longer, 'x', sizeof longer);
    longer[119] = (char)0xc3;
    longer[120] = (char)0xa9;
    m2s_quoted cut = m2s_quote(longer, sizeof longer);
    assert_int_equal(strlen(cut.text), 1 + 119 + 4);
    assert_string_equal(cut.text + 1 + 119, "...\"");
    assert_true(m2s_is_utf8("\xf0\x9f\x98\x80", 4));
    assert_false(m2s_is_utf8("\xf4\x90\x80\x80", 4));
    assert_false(m2s_is_utf8("\xc0\x80", 2));
    assert_false(m2s_is_utf8("\xe0\x80\x80", 3));
    assert_false(m2s_is_utf8("\xc3", 1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_every_kind),
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(refuses_depth_and_size),
        cmocka_unit_test(getters_say_what_they_expected),
        cmocka_unit_test(writes_in_every_style),
        cmocka_unit_test(comma_locale_changes_nothing),
        cmocka_unit_test(refuses_to_build_nonsense),
        cmocka_unit_test(out_of_memory_is_an_error),
        cmocka_unit_test(quotes_what_a_terminal_should_not_see),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
