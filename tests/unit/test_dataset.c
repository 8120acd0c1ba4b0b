/* SPDX-License-Identifier: Apache-2.0
 * lib/train/csv, dataset, dataset_folder, dataset_csv, dataset_names and their public functions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "common/dataset_fixture.h"
#include "common/faults.h"
#include "train/csv.h"
#include "train/dataset.h"
#include "train/dataset_names.h"

#define INVALID  M2SNET_STATUS_INVALID_ARGUMENT
#define MISMATCH M2SNET_STATUS_MISMATCH
#define FORMAT   M2SNET_STATUS_FORMAT

/* ---- lists ---- */

/* Rows as "a|b/c|d/", or the message. */
static void parse(const char *text, char *out, size_t bytes)
{
    const char *fields[M2S_CSV_MAX_FIELDS];
    size_t length = strlen(text), used = 0;
    char *copy = malloc(length + 1);
    m2snet_error error = { 0 };
    m2s_csv csv;
    int32_t count;

    assert_non_null(copy);
    memcpy(copy, text, length + 1);
    m2snet_status status = m2s_csv_begin(&csv, "list", copy, length, &error);
    out[0] = '\0';
    while (status == M2SNET_STATUS_OK) {
        status = m2s_csv_row(&csv, fields, &count, &error);
        if (status != M2SNET_STATUS_OK || count == 0) {
            break;
        }
        for (int32_t i = 0; i < count; i++) {
            used += (size_t)snprintf(out + used, bytes - used, "%s%c", fields[i], i + 1 < count ? '|' : '/');
        }
    }
    if (status != M2SNET_STATUS_OK) {
        snprintf(out, bytes, "%s", error.message);
    }
    free(copy);
}

static void test_csv(void **state)
{
    static const struct {
        const char *text, *rows;
    } cases[] = {
        { "", "" },
        { "\n\r\n\n", "" },
        { "a,b\nc,d\n", "a|b/c|d/" },
        { "a,b\r\nc,d", "a|b/c|d/" },
        { "\xef\xbb\xbf"
          "a,b\n\n\nc,d\n\n",
          "a|b/c|d/" },
        { "a,\n,b\n,\n", "a|/|b/|/" },
        { "a,", "a|/" },
        { "\"a\",\"b,c\"\n", "a|b,c/" },
        { "\"say \"\"no\"\"\",\"\"\n", "say \"no\"|/" },
        { "\"two\nlines\",\"x\r\ny\"\nz,w\n", "two\nlines|x\r\ny/z|w/" },
        { " a , b \n", " a | b /" },
        { "a\rb,c\n", "a\rb|c/" },
        { "\"\"\"\"", "\"/" },
        { "a,\"b\nc", "'list', line 1: a quote is not closed" },
        { "a\nb,\"", "'list', line 2: a quote is not closed" },
        { "a,b\"c\"\n", "'list', line 1: a quote inside a field that does not begin with one" },
        { "\"a\nb\"c,d\n", "'list', line 2: text follows a closing quote" },
        { "\"a\" ,b\n", "'list', line 1: text follows a closing quote" },
        { "a,\xff\n", "'list': not a list: it is not UTF-8 text" },
    };
    char out[1100];

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        parse(cases[i].text, out, sizeof out);
        assert_string_equal(out, cases[i].rows);
    }
    char many[600] = "";
    memset(many, ',', 255);
    parse(many, out, sizeof out);
    assert_int_equal(out[255], '/'); /* 256 fields */
    memset(many, ',', 256);
    parse(many, out, sizeof out);
    assert_string_equal(out, "'list', line 1: more than 256 fields");
}

static void test_names(void **state)
{
    size_t length;
    m2s_memory memory;

    (void)state;
    m2s_memory_init(&memory, NULL, 0);
    m2s_pile *pile = m2s_pile_create(&memory);
    assert_string_equal(m2s_name_of_path("a/b.c/d.e.png", &length), "d.e.png");
    assert_int_equal(length, 3);
    assert_string_equal(m2s_name_of_path("noending", &length), "noending");
    assert_int_equal(length, 8);
    assert_true(m2s_name_is_picture("a.PNG") && m2s_name_is_picture("a.b.JpEg") && m2s_name_is_picture("a.jpg"));
    assert_false(m2s_name_is_picture(".a.png") || m2s_name_is_picture("png") || m2s_name_is_picture("a.gif"));
    assert_string_equal(m2s_name_join(pile, "a/", "b"), "a/b");
    assert_string_equal(m2s_name_join(pile, "a", "b"), "a/b");
    assert_string_equal(m2s_name_join(pile, "", "b"), "b");
    assert_string_equal(m2s_name_join(pile, "a", "/b"), "/b");
    assert_string_equal(m2s_name_group(pile, "p12-003", "-"), "p12");
    assert_string_equal(m2s_name_group(pile, "p12-003", "__"), "");
    assert_string_equal(m2s_name_group(pile, "-3", "-"), "");
    assert_string_equal(m2s_name_group(pile, "p12", NULL), "");
    m2s_pile_destroy(pile);
}

/* ---- data sets ---- */

typedef struct rig {
    dataset_files files;
    m2snet_context *context;
    m2snet_dataset *dataset;
    m2snet_source_options options;
} rig;

static void begin(rig *r)
{
    m2snet_error error;

    dataset_files_make(&r->files);
    r->context = open_context("ref", 1);
    OK(m2snet_dataset_create(r->context, &r->dataset, &error));
    m2snet_source_options_init(&r->options);
}

static void end(rig *r)
{
    m2snet_dataset_destroy(r->dataset);
    m2snet_context_destroy(r->context);
    dataset_files_remove(&r->files);
}

static m2snet_dataset_item item(const rig *r, int32_t index)
{
    m2snet_dataset_item i = { .struct_size = sizeof i };
    m2snet_error error;

    OK(m2snet_dataset_get_item(r->dataset, index, &i, &error));
    return i;
}

static bool ends(const char *text, const char *with)
{
    return strlen(text) >= strlen(with) && strcmp(text + strlen(text) - strlen(with), with) == 0;
}

static void touch(const rig *r, const char *name)
{
    dataset_text(&r->files, name, "");
}

static void test_folder(void **state)
{
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r);
    static const char *const names[] = { "images/b.JPG",  "images/a.png",  "images/c-2.jpeg", "images/readme.txt",
                                         "images/.x.png", "masks/c-2.png", "masks/a.png",     "masks/b.jpg" };
    for (size_t i = 0; i < COUNT(names); i++) {
        touch(&r, names[i]);
    }
    r.options.group_separator = "-";
    r.options.weight = 2.5;
    OK(m2snet_dataset_add_folder(r.dataset, r.files.folder, &r.options, &error));
    assert_int_equal(m2snet_dataset_count(r.dataset), 3);
    assert_true(ends(item(&r, 0).image_path, "/images/a.png") && ends(item(&r, 0).mask_path, "/masks/a.png"));
    assert_true(ends(item(&r, 1).image_path, "/images/b.JPG") && ends(item(&r, 1).mask_path, "/masks/b.jpg"));
    assert_string_equal(item(&r, 2).name, "c-2");
    assert_string_equal(item(&r, 2).group, "c");
    assert_string_equal(item(&r, 1).group, "");
    assert_int_equal(item(&r, 2).part, M2SNET_PART_TRAIN);
    assert_int_equal(item(&r, 2).fold, -1);

    /* A second set; partners that are missing. */
    touch(&r, "two/images/x.png");
    touch(&r, "two/images/y.png");
    touch(&r, "two/masks/y.png");
    touch(&r, "two/masks/z.png");
    const char *folder = dataset_path(&r.files, "two");
    r.options.name = "second";
    REFUSE(m2snet_dataset_add_folder(r.dataset, folder, &r.options, &error), MISMATCH, "x.png' has no mask x.png");
    assert_int_equal(m2snet_dataset_count(r.dataset), 3);
    assert_int_equal(m2snet_dataset_set_count(r.dataset), 1);
    r.options.missing = M2SNET_MISSING_SKIP;
    OK(m2snet_dataset_add_folder(r.dataset, folder, &r.options, &error));
    assert_int_equal(m2snet_dataset_count(r.dataset), 4);
    assert_string_equal(item(&r, 3).name, "y");
    r.options.missing = M2SNET_MISSING_EMPTY;
    OK(m2snet_dataset_add_folder(r.dataset, folder, &r.options, &error));
    assert_int_equal(m2snet_dataset_count(r.dataset), 6);
    assert_string_equal(item(&r, 4).name, "x");
    assert_null(item(&r, 4).mask_path);
    assert_int_equal(item(&r, 5).set, 2);
    m2snet_dataset_set set = { .struct_size = sizeof set };
    OK(m2snet_dataset_get_set(r.dataset, 1, &set, &error));
    assert_string_equal(set.name, "second");
    assert_int_equal(set.count, 1);
    assert_true(set.weight == 2.5);

    /* Which is meant? */
    touch(&r, "two/images/y.jpg");
    REFUSE(m2snet_dataset_add_folder(r.dataset, folder, &r.options, &error), MISMATCH, "\"y.jpg\" and \"y.png\"");

    /* One folder, masks by suffix. */
    touch(&r, "one/p1.png");
    touch(&r, "one/p1_mask.png");
    touch(&r, "one/p2.jpg");
    touch(&r, "one/p2_mask.png");
    folder = dataset_path(&r.files, "one");
    m2snet_source_options_init(&r.options);
    r.options.mask_suffix = "_mask";
    OK(m2snet_dataset_add_folders(r.dataset, folder, folder, &r.options, &error));
    assert_int_equal(m2snet_dataset_count(r.dataset), 8);
    assert_true(ends(item(&r, 7).image_path, "/one/p2.jpg") && ends(item(&r, 7).mask_path, "/one/p2_mask.png"));

    touch(&r, "empty/images/a.txt");
    touch(&r, "empty/masks/a.txt");
    REFUSE(m2snet_dataset_add_folder(r.dataset, dataset_path(&r.files, "empty"), NULL, &error), MISMATCH, "no .png");
    REFUSE(m2snet_dataset_add_folder(r.dataset, dataset_path(&r.files, "nowhere"), NULL, &error), M2SNET_STATUS_IO,
           "nowhere/images");
    assert_int_equal(m2snet_dataset_count(r.dataset), 8);
    end(&r);
}

static void add_list(rig *r, const char *text)
{
    m2snet_error error;

    dataset_text(&r->files, "lists/list.csv", text);
    OK(m2snet_dataset_add_csv(r->dataset, dataset_path(&r->files, "lists/list.csv"), &r->options, &error));
}

static void refuse_list(rig *r, const char *text, m2snet_status status, const char *part)
{
    int32_t count = m2snet_dataset_count(r->dataset), sets = m2snet_dataset_set_count(r->dataset);
    m2snet_error error;

    dataset_text(&r->files, "lists/list.csv", text);
    REFUSE(m2snet_dataset_add_csv(r->dataset, dataset_path(&r->files, "lists/list.csv"), &r->options, &error), status,
           part);
    assert_int_equal(m2snet_dataset_count(r->dataset), count);
    assert_int_equal(m2snet_dataset_set_count(r->dataset), sets);
}

static void test_list(void **state)
{
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r);
    add_list(&r, "Mask,other,IMAGE,Patient,split\n\"m/a,1.png\",7,i/a.jpg,p1,train\n/abs/m.png,,/abs/i.png,,val\n");
    assert_int_equal(m2snet_dataset_count(r.dataset), 2);
    assert_true(ends(item(&r, 0).image_path, "/lists/i/a.jpg") && ends(item(&r, 0).mask_path, "/lists/m/a,1.png"));
    assert_string_equal(item(&r, 0).group, "p1");
    assert_string_equal(item(&r, 0).name, "a");
    assert_string_equal(item(&r, 1).image_path, "/abs/i.png");
    assert_string_equal(item(&r, 1).group, "");

    r.options.group_column = "video";
    r.options.group_separator = "_";
    add_list(&r, "image,mask,video,group\nv1_1.png,m,w,g\nv2_1.png,m,,g\n");
    assert_string_equal(item(&r, 2).group, "w");
    assert_string_equal(item(&r, 3).group, "v2"); /* the column is empty: the name tells */
    refuse_list(&r, "image,mask\na,b\n", FORMAT, "no column \"video\"");
    m2snet_source_options_init(&r.options);

    refuse_list(&r, "", FORMAT, "empty");
    refuse_list(&r, "image,msk\na,b\n", FORMAT, "line 1: the header has no column \"mask\"");
    refuse_list(&r, "image,mask,Image\na,b,c\n", FORMAT, "\"image\" is there twice");
    refuse_list(&r, "image,mask\n", FORMAT, "no row");
    refuse_list(&r, "image,mask\na,b\nc\n", FORMAT, "line 3: 1 fields, the header has 2");
    refuse_list(&r, "image,mask\na,b\n,d\n", FORMAT, "line 3: the image is empty");
    refuse_list(&r, "image,mask\na,b\nc,\n", MISMATCH, "line 3: the mask is empty");
    refuse_list(&r, "image,mask\na,\"b\n", FORMAT, "not closed");
    r.options.missing = M2SNET_MISSING_SKIP;
    add_list(&r, "image,mask\na,b\nc,\n");
    assert_int_equal(m2snet_dataset_count(r.dataset), 5);
    r.options.missing = M2SNET_MISSING_EMPTY;
    add_list(&r, "image,mask\na,b\nc,\n");
    assert_int_equal(m2snet_dataset_count(r.dataset), 7);
    assert_null(item(&r, 6).mask_path);
    REFUSE(m2snet_dataset_add_csv(r.dataset, "/no/such.csv", NULL, &error), M2SNET_STATUS_IO, "/no/such.csv");
    end(&r);
}

static void test_misuse(void **state)
{
    m2snet_dataset_item i = { .struct_size = sizeof i };
    m2snet_dataset *none = (m2snet_dataset *)(uintptr_t)1;
    int32_t *items, count;
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r);
    REFUSE(m2snet_dataset_create(NULL, &none, &error), INVALID, "context");
    assert_null(none);
    m2snet_dataset_destroy(NULL);
    assert_int_equal(m2snet_dataset_count(NULL), 0);
    REFUSE(m2snet_dataset_get_item(r.dataset, 0, &i, &error), INVALID, "item 0");
    REFUSE(m2snet_dataset_add_folder(r.dataset, NULL, NULL, &error), INVALID, "folder");
    r.options.weight = 0.0;
    REFUSE(m2snet_dataset_add_folder(r.dataset, "x", &r.options, &error), INVALID, "weight is 0");
    m2snet_source_options_init(&r.options);
    r.options.missing = (m2snet_missing)3;
    REFUSE(m2snet_dataset_add_csv(r.dataset, "x", &r.options, &error), INVALID, "missing is 3");
    m2snet_source_options_init(&r.options);
    r.options.group_separator = "";
    REFUSE(m2snet_dataset_add_csv(r.dataset, "x", &r.options, &error), INVALID, "group_separator");
    m2snet_source_options_init(&r.options);
    add_list(&r, "image,mask\na,b\nc,d\n");
    OK(m2snet_dataset_set_part(r.dataset, 1, M2SNET_PART_TEST, &error));
    assert_int_equal(m2snet_dataset_part_count(r.dataset, M2SNET_PART_TEST), 1);
    assert_int_equal(m2snet_dataset_part_count(r.dataset, M2SNET_PART_TRAIN), 1);
    REFUSE(m2snet_dataset_set_part(r.dataset, 1, (m2snet_part)4, &error), INVALID, "part is 4");
    REFUSE(m2snet_dataset_set_part(r.dataset, 2, M2SNET_PART_TEST, &error), INVALID, "item 2");
    OK(m2s_dataset_part(r.dataset, M2SNET_PART_TEST, &items, &count, &error));
    assert_int_equal(count, 1);
    assert_int_equal(items[0], 1);
    m2s_free(&r.context->memory, items);
    REFUSE(m2s_dataset_part(r.dataset, M2SNET_PART_VALIDATION, &items, &count, &error), MISMATCH, "for validation");
    OK(m2s_dataset_enter(r.dataset, &error));
    REFUSE(m2snet_dataset_add_csv(r.dataset, "x", NULL, &error), M2SNET_STATUS_BUSY, "another thread");
    m2s_dataset_leave(r.dataset);
    /* The data set keeps its context alive. */
    m2snet_context_destroy(r.context);
    assert_int_equal(m2snet_dataset_count(r.dataset), 2);
    r.context = NULL;
    end(&r);
}

/* ---- memory ---- */

static m2snet_status work(m2snet_context *context, const char *folder, const char *list, m2snet_error *error)
{
    m2snet_dataset *d = NULL;
    m2snet_source_options o;
    m2snet_split_options s;
    m2snet_status status = m2snet_dataset_create(context, &d, error);

    m2snet_source_options_init(&o);
    m2snet_split_options_init(&s);
    o.missing = M2SNET_MISSING_SKIP;
    s.kind = M2SNET_SPLIT_FOLDS;
    s.folds = 2;
    s.keep_near_duplicates = 1;
    status = status ? status : m2snet_dataset_add_folder(d, folder, &o, error);
    status = status ? status : m2snet_dataset_add_csv(d, list, &o, error);
    status = status ? status : m2snet_dataset_lint(d, NULL, error);
    status = status ? status : m2snet_dataset_find_duplicates(d, NULL, error);
    status = status ? status : m2snet_dataset_split(d, &s, error);
    s.kind = M2SNET_SPLIT_COLUMN;
    status = status ? status : m2snet_dataset_split(d, &s, error);
    if (status == M2SNET_STATUS_OK) {
        assert_true(m2snet_dataset_finding_count(d) > 4);
        assert_true(m2snet_dataset_near_pair_count(d) > 0);
    }
    m2snet_dataset_destroy(d);
    return status;
}

static void test_failed_allocations(void **state)
{
    int failures = 0;
    rig r;

    (void)state;
    begin(&r);
    dataset_pair(&r.files, "a", 12, 12, 1);
    dataset_pair(&r.files, "b", 12, 12, 1);
    dataset_pair(&r.files, "c", 14, 12, 3);
    touch(&r, "images/d.png");
    touch(&r, "masks/d.png");
    touch(&r, "images/e.png");
    touch(&r, "masks/f.png");
    dataset_text(&r.files, "list.csv", "image,mask,group,split\nimages/a.png,masks/a.png,g,train\nimages/c.png,,g,\n");
    for (size_t n = 1;; n++) {
        faults f = { .fail_at = 0 };
        m2snet_allocator allocator = faults_allocator(&f);
        m2snet_context_options options;
        m2snet_context *context;
        m2snet_error error;
        m2snet_context_options_init(&options);
        options.allocator = &allocator;
        options.threads = 1;
        options.backend = "ref";
        OK(m2snet_context_create(&options, &context, &error));
        size_t before = atomic_load(&f.calls), live = atomic_load(&f.live);
        f.fail_at = before + n;
        m2snet_status status = work(context, r.files.folder, dataset_path(&r.files, "list.csv"), &error);
        assert_true(status == M2SNET_STATUS_OK || status == M2SNET_STATUS_OUT_OF_MEMORY);
        failures += status != M2SNET_STATUS_OK;
        assert_int_equal(atomic_load(&f.live), live);
        bool all = atomic_load(&f.calls) < before + n;
        m2snet_context_destroy(context);
        assert_int_equal(atomic_load(&f.live), 0);
        if (all) {
            assert_int_equal(status, M2SNET_STATUS_OK);
            break;
        }
    }
    assert_true(failures > 60);
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_csv),  cmocka_unit_test(test_names),  cmocka_unit_test(test_folder),
        cmocka_unit_test(test_list), cmocka_unit_test(test_misuse), cmocka_unit_test(test_failed_allocations),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
