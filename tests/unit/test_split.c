/* SPDX-License-Identifier: Apache-2.0
 * lib/train/split: parts by column, folds, fractions; groups; the same on every machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/api_fixture.h"
#include "common/dataset_fixture.h"
#include "train/dataset.h"

#define INVALID  M2SNET_STATUS_INVALID_ARGUMENT
#define MISMATCH M2SNET_STATUS_MISMATCH

typedef struct rig {
    dataset_files files;
    m2snet_context *context;
    m2snet_dataset *dataset;
    m2snet_split_options options;
} rig;

static void begin(rig *r)
{
    m2snet_error error;

    dataset_files_make(&r->files);
    r->context = open_context("ref", 1);
    OK(m2snet_dataset_create(r->context, &r->dataset, &error));
    m2snet_split_options_init(&r->options);
}

static void end(rig *r)
{
    m2snet_dataset_destroy(r->dataset);
    m2snet_context_destroy(r->context);
    dataset_files_remove(&r->files);
}

static void add_list(rig *r, const char *text)
{
    m2snet_error error;

    dataset_text(&r->files, "list.csv", text);
    OK(m2snet_dataset_add_csv(r->dataset, dataset_path(&r->files, "list.csv"), NULL, &error));
}

/* count items; those of one group for every `per_group`, 1 = no groups. */
static void add_many(rig *r, const char *prefix, int count, int per_group)
{
    char *text = malloc(64 * (size_t)count + 32);
    size_t used = (size_t)sprintf(text, "image,mask,group\n");

    for (int i = 0; i < count; i++) {
        used += (size_t)sprintf(text + used, "%s%d.png,m,", prefix, i);
        used += (size_t)(per_group > 1 ? sprintf(text + used, "%sg%d\n", prefix, i / per_group)
                                       : sprintf(text + used, "\n"));
    }
    add_list(r, text);
    free(text);
}

static m2snet_dataset_item item(const rig *r, int32_t index)
{
    m2snet_dataset_item i = { .struct_size = sizeof i };
    m2snet_error error;

    OK(m2snet_dataset_get_item(r->dataset, index, &i, &error));
    return i;
}

static void split(rig *r)
{
    m2snet_error error;

    OK(m2snet_dataset_split(r->dataset, &r->options, &error));
}

static void test_column(void **state)
{
    static const m2snet_part parts[] = { M2SNET_PART_TRAIN, M2SNET_PART_VALIDATION, M2SNET_PART_VALIDATION,
                                         M2SNET_PART_TEST,  M2SNET_PART_NONE,       M2SNET_PART_TRAIN };
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r);
    REFUSE(m2snet_dataset_split(r.dataset, &r.options, &error), MISMATCH, "empty");
    add_list(&r, "image,mask,split\na,m,train\nb,m,VAL\nc,m,validation\nd,m,Test\ne,m,\n");
    add_list(&r, "image,mask\nf,m\n"); /* without the column: training */
    split(&r);
    for (int32_t i = 0; i < 6; i++) {
        assert_int_equal(item(&r, i).part, parts[i]);
    }
    add_list(&r, "image,mask,split,patient\ng,m,,p\nh,m,train,p\ni,m,val,q\nj,m,val,q\n");
    split(&r);
    assert_int_equal(item(&r, 7).part, M2SNET_PART_TRAIN);
    assert_int_equal(item(&r, 9).part, M2SNET_PART_VALIDATION);
    add_list(&r, "image,mask,split,patient\nk,m,test,p\n");
    REFUSE(m2snet_dataset_split(r.dataset, &r.options, &error), MISMATCH, "h' and '");
    assert_int_equal(item(&r, 9).part, M2SNET_PART_VALIDATION); /* as before */
    r.options.ignore_groups = 1;
    split(&r);
    assert_int_equal(item(&r, 10).part, M2SNET_PART_TEST);
    add_list(&r, "image,mask,split\nl,m,tset\n");
    REFUSE(m2snet_dataset_split(r.dataset, &r.options, &error), M2SNET_STATUS_FORMAT, "\"tset\"");
    end(&r);
}

static void test_folds(void **state)
{
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r);
    add_many(&r, "a", 23, 1);
    add_many(&r, "b", 12, 1);
    r.options.kind = M2SNET_SPLIT_FOLDS;
    r.options.folds = 5;
    int fold_of[35], sizes[5][2];
    for (int32_t fold = 0; fold < 5; fold++) {
        int validation = 0;
        memset(sizes, 0, sizeof sizes);
        r.options.fold = fold;
        split(&r);
        for (int32_t i = 0; i < 35; i++) {
            m2snet_dataset_item it = item(&r, i);
            assert_int_equal(it.part, it.fold == fold ? M2SNET_PART_VALIDATION : M2SNET_PART_TRAIN);
            assert_true(fold == 0 || fold_of[i] == it.fold); /* the same folds, whichever validates */
            fold_of[i] = it.fold;
            sizes[it.fold][it.set]++;
            validation += it.fold == fold;
        }
        assert_int_equal(validation, 7); /* 35 over 5 */
        for (int f = 0; f < 5; f++) {
            assert_true(sizes[f][0] == 4 || sizes[f][0] == 5);
            assert_true(sizes[f][1] == 2 || sizes[f][1] == 3);
        }
    }
    /* These numbers stand in reports: the same on every machine, and another seed gives others. */
    static const int known[10] = { 1, 4, 4, 2, 0, 4, 1, 1, 3, 1 };
    int other = 0;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(fold_of[i], known[i]);
    }
    r.options.seed = 1;
    split(&r);
    for (int32_t i = 0; i < 35; i++) {
        other += item(&r, i).fold != fold_of[i];
    }
    assert_true(other > 15);
    r.options.folds = 36;
    REFUSE(m2snet_dataset_split(r.dataset, &r.options, &error), MISMATCH, "36 folds of 35 groups");
    r.options.folds = 1;
    REFUSE(m2snet_dataset_split(r.dataset, &r.options, &error), INVALID, "folds is 1");
    r.options.folds = 3;
    r.options.fold = 3;
    REFUSE(m2snet_dataset_split(r.dataset, &r.options, &error), INVALID, "fold is 3");
    end(&r);
}

static void test_groups(void **state)
{
    rig r;

    (void)state;
    begin(&r);
    add_many(&r, "a", 40, 4);
    add_list(&r, "image,mask,group\nx1,m,ag3\nx2,m,ag3\nx3,m,\n"); /* a patient of the other set */
    r.options.kind = M2SNET_SPLIT_FOLDS;
    r.options.folds = 4;
    for (uint64_t seed = 0; seed < 20; seed++) {
        int sizes[4] = { 0 };
        r.options.seed = seed;
        split(&r);
        for (int32_t i = 0; i < 43; i++) {
            sizes[item(&r, i).fold]++;
            assert_true(i >= 40 || item(&r, i).fold == item(&r, i / 4 * 4).fold);
        }
        assert_int_equal(item(&r, 40).fold, item(&r, 12).fold);
        assert_int_equal(item(&r, 41).fold, item(&r, 12).fold);
        for (int f = 0; f < 4; f++) {
            assert_true(sizes[f] >= 8 && sizes[f] <= 14);
        }
    }
    r.options.ignore_groups = 1;
    split(&r);
    int parted = 0;
    for (int32_t i = 0; i < 40; i++) {
        parted += item(&r, i).fold != item(&r, i / 4 * 4).fold;
    }
    assert_true(parted > 15);
    end(&r);
}

static void test_fractions(void **state)
{
    m2snet_error error;
    rig r;

    (void)state;
    begin(&r);
    add_many(&r, "a", 100, 1);
    r.options.kind = M2SNET_SPLIT_FRACTIONS;
    r.options.validation = 0.2;
    r.options.test = 0.15;
    int chosen[100] = { 0 };
    for (uint64_t seed = 0; seed < 200; seed++) {
        r.options.seed = seed;
        split(&r);
        assert_int_equal(m2snet_dataset_part_count(r.dataset, M2SNET_PART_VALIDATION), 20);
        assert_int_equal(m2snet_dataset_part_count(r.dataset, M2SNET_PART_TEST), 15);
        assert_int_equal(m2snet_dataset_part_count(r.dataset, M2SNET_PART_TRAIN), 65);
        for (int32_t i = 0; i < 100; i++) {
            chosen[i] += item(&r, i).part == M2SNET_PART_VALIDATION;
        }
    }
    for (int i = 0; i < 100; i++) {
        assert_true(chosen[i] > 10 && chosen[i] < 74); /* 40 expected, deviation 5.7: nobody is preferred */
    }
    r.options.validation = 0.004;
    split(&r);
    assert_int_equal(m2snet_dataset_part_count(r.dataset, M2SNET_PART_VALIDATION), 1);
    r.options.validation = 1.0;
    REFUSE(m2snet_dataset_split(r.dataset, &r.options, &error), INVALID, "validation 1 and test 0.15");
    r.options.kind = (m2snet_split_kind)3;
    REFUSE(m2snet_dataset_split(r.dataset, &r.options, &error), INVALID, "kind is 3");
    REFUSE(m2snet_dataset_split(NULL, NULL, &error), INVALID, "dataset");
    end(&r);

    begin(&r);
    add_many(&r, "a", 8, 8); /* one patient */
    r.options.kind = M2SNET_SPLIT_FRACTIONS;
    r.options.validation = 0.25;
    REFUSE(m2snet_dataset_split(r.dataset, &r.options, &error), MISMATCH, "nothing is left for validation: 1 groups");
    assert_int_equal(m2snet_dataset_part_count(r.dataset, M2SNET_PART_TRAIN), 8);
    end(&r);
}

static void test_near_duplicates_stay_together(void **state)
{
    m2snet_error error;
    int parted = 0;
    rig r;

    (void)state;
    begin(&r);
    for (int i = 0; i < 12; i++) {
        char name[16];
        snprintf(name, sizeof name, "p%02d", i);
        dataset_pair(&r.files, name, 60 + i, 60, (uint32_t)(i / 2 * 7)); /* two and two alike, in other sizes */
    }
    OK(m2snet_dataset_add_folder(r.dataset, r.files.folder, NULL, &error));
    OK(m2snet_dataset_find_duplicates(r.dataset, NULL, &error));
    assert_true(m2snet_dataset_near_pair_count(r.dataset) >= 6);
    r.options.kind = M2SNET_SPLIT_FOLDS;
    r.options.folds = 2;
    for (int keep = 0; keep < 2; keep++) {
        r.options.keep_near_duplicates = keep;
        split(&r);
        parted = 0;
        int across = 0;
        for (int32_t i = 0; i < 12; i += 2) {
            parted += item(&r, i).part != item(&r, i + 1).part;
        }
        for (int32_t i = 0; i < m2snet_dataset_near_pair_count(r.dataset); i++) {
            m2snet_near_pair p = { .struct_size = sizeof p };
            OK(m2snet_dataset_get_near_pair(r.dataset, i, &p, &error));
            across += p.across;
        }
        assert_true(keep ? parted == 0 && across == 0 : parted > 0 && across >= parted);
    }
    end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_column),
        cmocka_unit_test(test_folds),
        cmocka_unit_test(test_groups),
        cmocka_unit_test(test_fractions),
        cmocka_unit_test(test_near_duplicates_stay_together),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
