# SPDX-License-Identifier: Apache-2.0
"""The structs and enumerations of m2snet.h. The fields are the header's own text, so that both can be read side by side.

`check` compares every size with the library that was loaded; tests/python compares every offset with a C compiler.
"""

from __future__ import annotations

import ctypes
import re
from typing import Any, Dict, List, Tuple

MAX_SPACINGS = 8
MAX_CALIBRATION_BINS = 64

PROGRESS_FN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
ROW_FN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)  # of a step, and of an epoch
LOG_FN = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p)

_TYPES: Dict[str, Any] = {
    "size_t": ctypes.c_size_t,
    "ptrdiff_t": ctypes.c_ssize_t,
    "int32_t": ctypes.c_int32,
    "int64_t": ctypes.c_int64,
    "uint64_t": ctypes.c_uint64,
    "float": ctypes.c_float,
    "double": ctypes.c_double,
    "char": ctypes.c_char,
    "const char *": ctypes.c_char_p,
    "m2snet_progress_fn": PROGRESS_FN,
    "m2snet_log_fn": LOG_FN,
    "m2snet_train_row_fn": ROW_FN,
    "m2snet_epoch_row_fn": ROW_FN,
}
# Enumerations have the size of int on every compiler that this library is built with.
for _enumeration in """status log_level dtype precision pixel_format mirror profile empty part missing split_kind finding_kind
    bce_form lossnet_distance optimiser schedule supervision sampler unreadable best fit_end augment_order""".split():
    _TYPES["m2snet_" + _enumeration] = ctypes.c_int

# C name -> class, for `check`.
STRUCTS: Dict[str, Any] = {}


def _fields(text: str) -> List[Tuple[str, Any]]:
    """The fields of "int32_t width, height; float mean[3]; uint8_t *map;"."""
    fields = []
    for declaration in filter(None, (part.strip() for part in text.split(";"))):
        match = re.fullmatch(r"((?:const )?\w+(?: \*(?:const \*)?| ))(\w.*)", declaration)
        assert match is not None, declaration
        kind, names = match[1].rstrip() if "*" not in match[1] else match[1], match[2]
        ctype = _TYPES.get(kind, ctypes.c_void_p) if "*" in kind else _TYPES[kind]
        for name in names.split(","):
            item = re.fullmatch(r"\s*(\w+)(?:\[(\d+)\])?", name)
            assert item is not None, declaration
            fields.append((item[1], ctype * int(item[2]) if item[2] else ctype))
    return fields


def _struct(c_name: str, text: str) -> Any:
    """A ctypes class. One that begins with struct_size has it set in every new object."""
    fields = _fields(text)

    def __init__(self: Any, **values: Any) -> None:
        ctypes.Structure.__init__(self, **values)
        if fields[0][0] == "struct_size":
            self.struct_size = ctypes.sizeof(self)

    python_name = "".join(word.capitalize() for word in c_name.split("_")[1:])
    made = type(python_name, (ctypes.Structure,), {"_fields_": fields, "__init__": __init__, "__doc__": c_name})
    STRUCTS[c_name] = _TYPES[c_name] = made
    return made


Error = _struct("m2snet_error", "m2snet_status status; char message[1020];")
Progress = _struct("m2snet_progress", "const char *phase; uint64_t done; uint64_t total;")
Control = _struct("m2snet_control", "m2snet_progress_fn progress; void *progress_user; m2snet_cancel *cancel;")

ContextOptions = _struct(
    "m2snet_context_options",
    """size_t struct_size;
    const char *backend;
    int32_t device;
    int32_t threads;
    const m2snet_allocator *allocator;
    m2snet_log_fn log;
    void *log_user;
    m2snet_log_level log_level;
    uint64_t memory_limit_bytes;
    const char *instruction_set;
    const char *backend_path;
    const m2snet_cuda_options *cuda;""",
)
CudaOptions = _struct(
    "m2snet_cuda_options",
    """size_t struct_size;
    const m2snet_device_allocator *allocator;
    int32_t search;
    uint64_t workspace_limit_bytes;
    int32_t in_a_row;""",
)
CudaRun = _struct(
    "m2snet_cuda_run",
    "size_t struct_size; void *stream; int64_t n, h, w; const float *src; float *dst;",
)
ContextInfo = _struct(
    "m2snet_context_info",
    """size_t struct_size;
    const char *backend;
    const char *device;
    const char *instruction_set;
    const char *gemm_provider;
    int32_t threads;
    uint64_t memory_used_bytes;
    uint64_t memory_peak_bytes;""",
)
BackendInfo = _struct(
    "m2snet_backend_info", "size_t struct_size; const char *name; const char *description; int32_t devices;"
)

ModelOptions = _struct(
    "m2snet_model_options", "size_t struct_size; const char *config_json; int32_t memory_map; m2snet_control control;"
)
SaveOptions = _struct(
    "m2snet_save_options",
    """size_t struct_size;
    m2snet_dtype dtype;
    const char *metadata_json;
    int32_t with_selftest;
    m2snet_control control;""",
)
ModelInfo = _struct(
    "m2snet_model_info",
    """size_t struct_size;
    const char *architecture;
    const char *encoder;
    int32_t pyramid_channels;
    int32_t classes;
    int32_t input_width;
    int32_t input_height;
    double threshold;
    uint64_t parameters;
    uint64_t multiply_adds;
    uint64_t weight_bytes;
    const char *sha256;
    const char *config_json;
    const char *format;
    int32_t softmax;""",
)
FeatureInfo = _struct("m2snet_feature_info", "size_t struct_size; const char *name; int64_t h, w, c;")
TensorInfo = _struct(
    "m2snet_tensor_info",
    "size_t struct_size; const char *name; m2snet_dtype dtype; int32_t rank; const int64_t *dims;",
)
TensorDesc = _struct(
    "m2snet_tensor_desc",
    """m2snet_dtype dtype;
    int64_t n, h, w, c;
    int64_t stride_n_bytes;
    int64_t stride_h_bytes;
    int64_t stride_w_bytes;
    int64_t stride_c_bytes;""",
)

SessionOptions = _struct(
    "m2snet_session_options",
    """size_t struct_size;
    m2snet_precision precision;
    int32_t input_width;
    int32_t input_height;
    int32_t max_plans;
    uint64_t memory_limit_bytes;""",
)
PlanInfo = _struct(
    "m2snet_plan_info",
    """size_t struct_size;
    uint64_t arena_bytes;
    uint64_t packed_weight_bytes;
    uint64_t multiply_adds;
    int32_t steps;
    int32_t compiled;""",
)
StepInfo = _struct(
    "m2snet_step_info",
    "size_t struct_size; const char *name; const char *kernel; uint64_t multiply_adds; double milliseconds;",
)

Image = _struct(
    "m2snet_image",
    """const void *data;
    int32_t width, height;
    ptrdiff_t row_stride_bytes;
    m2snet_pixel_format format;
    float window_low;
    float window_high;
    void *owner;""",
)
ImageReadOptions = _struct(
    "m2snet_image_read_options", "size_t struct_size; uint64_t max_pixels; int32_t apply_exif; m2snet_control control;"
)

PredictOptions = _struct(
    "m2snet_predict_options",
    """size_t struct_size;
    double threshold;
    int32_t class_index;
    int32_t roi_x, roi_y;
    int32_t roi_width, roi_height;
    int32_t largest_component;
    int32_t fill_holes;
    double min_area_px;
    double presence_min_area_px;
    double spacing_y_mm;
    double spacing_x_mm;
    float *probability;
    ptrdiff_t probability_stride_bytes;
    uint8_t *map;
    ptrdiff_t map_stride_bytes;
    uint8_t *mask;
    ptrdiff_t mask_stride_bytes;
    m2snet_control control;
    int32_t label_map;
    uint8_t *labels;
    ptrdiff_t labels_stride_bytes;
    int32_t tiles;
    double tile_step;
    m2snet_mirror mirror;
    m2snet_session *const *ensemble;
    int32_t ensemble_count;
    const char *const *features;
    int32_t feature_count;
    const char *gradcam;""",
)
Component = _struct(
    "m2snet_component",
    """size_t struct_size;
    int64_t area_px;
    double area_mm2;
    int32_t x, y, width, height;
    double mean_probability;
    double centroid_x, centroid_y;""",
)
Feature = _struct("m2snet_feature", "size_t struct_size; const char *name; int64_t h, w, c; const float *data;")
Receipt = _struct(
    "m2snet_receipt",
    """size_t struct_size;
    const char *model_sha256;
    const char *architecture;
    const char *encoder;
    const char *library_version;
    const char *dependencies;
    const char *backend;
    const char *device;
    const char *instruction_set;
    const char *precision;
    const char *preprocessing;
    int32_t threads;
    int32_t image_width, image_height;
    int32_t input_width, input_height;
    double threshold;
    int32_t found;
    double presence;
    double milliseconds_pre, milliseconds_network, milliseconds_post;
    const char *views;
    int32_t windows;
    int32_t models;
    const char *ensemble;""",
)

EvaluatorOptions = _struct(
    "m2snet_evaluator_options",
    """size_t struct_size;
    m2snet_profile profile;
    m2snet_empty empty;
    const double *spacings_mm;
    int32_t spacing_count;
    int32_t connectivity;
    int32_t without_surface;
    int32_t surface_penalty;
    int32_t resize_prediction;
    const uint8_t *labels;
    int32_t label_count;
    const char *const *label_names;""",
)
SurfaceScores = _struct(
    "m2snet_surface_scores",
    """double hd;
    double hd95;
    double assd;
    double asd_pred_to_gt;
    double asd_gt_to_pred;
    double hd95_maxdir;""",
)
Scores = _struct(
    "m2snet_scores",
    f"""size_t struct_size;
    int32_t height, width;
    int64_t tp, fp, fn, tn;
    double mae, sm, sm_matlab_rounding, wfm;
    double em_mean, em_max, pre_mean, pre_max, rec_mean, rec_max, spec_mean, spec_max;
    double spec_pranet_mean, spec_pranet_max;
    double dice_mean, dice_max, iou_mean, iou_max;
    double fm_mean, fm_max, f1_mean, f1_max;
    double em_adp, fm_adp;
    double dice, iou, precision, recall, specificity, accuracy, iou_bg, f1, miou, ber;
    double authors_mae, authors_fm_max, authors_fm_adp, authors_sm, authors_em, authors_wfm;
    double authors_dice_soft, authors_iou, authors_ber, authors_acc;
    int32_t mask_empty;
    int32_t prediction_empty;
    int32_t surface_count;
    int32_t surface_undefined;
    m2snet_surface_scores surface[{MAX_SPACINGS}];""",
)


class _LabelSpacing(ctypes.Structure):
    _fields_ = _fields("double med_top, med_bottom, med; m2snet_surface_scores surface;")


_TYPES["label_spacing"] = _LabelSpacing
LabelScores = _struct(
    "m2snet_label_scores",
    f"""size_t struct_size;
    int64_t tp, n_pred, n_gt;
    double dice, iou;
    int64_t columns_both;
    int64_t columns_gt_only;
    int64_t columns_pred_only;
    int32_t surface_count;
    int32_t boundary_undefined;
    int32_t surface_undefined;
    label_spacing spacing[{MAX_SPACINGS}];""",
)
FilePair = _struct("m2snet_file_pair", "const char *name; const char *prediction_path; const char *mask_path;")
SetInfo = _struct(
    "m2snet_set_info",
    """size_t struct_size;
    int32_t scored, failed;
    int32_t counted;
    int32_t empty_masks, empty_predictions, both_empty;
    int32_t warned;
    double pooled_dice, pooled_iou, pooled_precision, pooled_recall, pooled_specificity;
    double mean_of_image_em_max;""",
)


class _CalibrationBin(ctypes.Structure):
    _fields_ = _fields("int64_t pixels; double probability; double observed;")


_TYPES["calibration_bin"] = _CalibrationBin
Calibration = _struct(
    "m2snet_calibration",
    f"""size_t struct_size;
    int32_t bin_count;
    int64_t pixels;
    double ece;
    double mce;
    double brier;
    calibration_bin bins[{MAX_CALIBRATION_BINS}];""",
)

SourceOptions = _struct(
    "m2snet_source_options",
    """size_t struct_size;
    const char *name;
    double weight;
    m2snet_missing missing;
    const char *mask_suffix;
    const char *group_column;
    const char *group_separator;""",
)
DatasetItem = _struct(
    "m2snet_dataset_item",
    """size_t struct_size;
    const char *name;
    const char *image_path;
    const char *mask_path;
    const char *group;
    int32_t set;
    int32_t fold;
    m2snet_part part;""",
)
DatasetSet = _struct(
    "m2snet_dataset_set",
    """size_t struct_size;
    const char *name;
    double weight;
    int32_t count;""",
)
SplitOptions = _struct(
    "m2snet_split_options",
    """size_t struct_size;
    m2snet_split_kind kind;
    uint64_t seed;
    int32_t folds;
    int32_t fold;
    double validation, test;
    int32_t ignore_groups;
    int32_t keep_near_duplicates;""",
)
LintOptions = _struct(
    "m2snet_lint_options",
    """size_t struct_size;
    const uint8_t *labels;
    int32_t label_count;
    m2snet_control control;
    int32_t background_label;""",
)
Finding = _struct(
    "m2snet_finding",
    """size_t struct_size;
    m2snet_finding_kind kind;
    int32_t item;
    int32_t other;
    const char *path;
    const char *reason;""",
)
DuplicatesOptions = _struct(
    "m2snet_duplicates_options",
    """size_t struct_size;
    int32_t distance;
    m2snet_control control;""",
)
NearPair = _struct(
    "m2snet_near_pair",
    """size_t struct_size;
    int32_t a, b;
    int32_t distance;
    int32_t across;""",
)
AugmentOptions = _struct(
    "m2snet_augment_options",
    """size_t struct_size;
    double mean[3], std[3];
    int32_t first_size_px;
    int32_t rotate_about_index;
    double p_flip_horizontal, p_flip_vertical;
    double p_quarter_turns;
    double p_rotate, rotate_degrees;
    double p_crop, crop_low, crop_high;
    double p_brightness, brightness;
    double p_contrast, contrast;
    double p_saturation, saturation;
    double p_hue, hue;
    double p_blur, blur_low_px, blur_high_px;
    double p_noise, noise_low, noise_high;
    m2snet_augment_order order;
    double p_scale, scale_low, scale_high;
    double p_low_resolution, low_resolution;
    double p_gamma_inverted, p_gamma;
    double gamma_low, gamma_high;""",
)
LossnetOptions = _struct(
    "m2snet_lossnet_options",
    """size_t struct_size;
    const char *family;
    m2snet_control control;""",
)
ObjectiveOptions = _struct(
    "m2snet_objective_options",
    """size_t struct_size;
    double bce_weight;
    double iou_weight;
    double dice_weight;
    double cross_entropy_weight;
    double lossnet_weight;
    m2snet_bce_form bce_form;
    int32_t softmax;
    int32_t batch_dice;
    m2snet_lossnet *lossnet;
    m2snet_lossnet_distance lossnet_distance;
    int32_t lossnet_size_px;""",
)
ObjectiveValues = _struct(
    "m2snet_objective_values",
    """size_t struct_size;
    double loss;
    double bce, iou, dice, cross_entropy, lossnet;""",
)
TrainerOptions = _struct(
    "m2snet_trainer_options",
    """size_t struct_size;
    const m2snet_objective_options *objective;
    m2snet_optimiser optimiser;
    double learning_rate;
    double encoder_rate;
    double momentum;
    double beta2;
    double epsilon;
    double weight_decay;
    int32_t nesterov;
    m2snet_schedule schedule;
    double warmup;
    double power;
    int64_t epochs;
    int64_t steps_per_epoch;
    double clip_norm;
    int32_t accumulate;
    int32_t freeze_encoder;
    int32_t freeze_batch_norm;
    double ema_decay;
    int32_t recompute;
    int32_t max_bad_steps;
    uint64_t seed;
    m2snet_precision precision;
    int32_t max_plans;
    uint64_t memory_limit_bytes;
    m2snet_supervision supervision;
    int32_t rate_per_epoch;
    double drop_path;""",
)
TrainRow = _struct(
    "m2snet_train_row",
    """size_t struct_size;
    int64_t epoch;
    int64_t batch;
    int64_t batches;
    int64_t step;
    int64_t updates;
    double loss, bce, iou, dice, cross_entropy, lossnet;
    double grad_norm;
    double rate;
    int32_t finite;
    int32_t bad_steps;
    int32_t images, height, width;
    double milliseconds;
    double waiting_milliseconds;
    double loss_scale;""",
)
EpochRow = _struct(
    "m2snet_epoch_row",
    """size_t struct_size;
    int64_t epoch, epochs;
    int64_t step, updates;
    double loss, bce, iou, dice, cross_entropy, lossnet;
    double rate;
    int64_t images;
    int64_t bad_steps;
    int64_t unreadable;
    double seconds, validation_seconds, waiting_seconds;
    int32_t validated;
    double validation_dice, validation_iou;
    int32_t validation_images;
    int32_t is_best;
    double best_score;
    int64_t best_epoch;""",
)
FitOptions = _struct(
    "m2snet_fit_options",
    """size_t struct_size;
    int64_t epochs;
    int32_t batch;
    const int32_t *sizes_px;
    int32_t size_count;
    const m2snet_augment_options *augment;
    int32_t mask_threshold;
    int32_t mask_binarize;
    const uint8_t *labels;
    int32_t label_count;
    m2snet_sampler sampler;
    int32_t balanced_longest;
    int32_t drop_last;
    m2snet_unreadable unreadable;
    int32_t workers;
    uint64_t prefetch_bytes;
    uint64_t cache_bytes;
    int32_t shrink_px;
    uint64_t max_pixels;
    int64_t max_steps;
    int32_t validate_every;
    int32_t validation_width, validation_height;
    int32_t validate_averaged;
    m2snet_best best;
    int32_t patience;
    const char *checkpoint_path;
    int64_t checkpoint_every;
    int32_t resume;
    const char *best_path;
    const char *last_path;
    const char *metadata_json;
    m2snet_train_row_fn row;
    m2snet_epoch_row_fn epoch_row;
    void *user;
    m2snet_control control;
    int32_t background_label;
    int32_t patches;
    double foreground_share;
    int64_t epoch_batches;""",
)
ValidationOptions = _struct(
    "m2snet_validation_options",
    """size_t struct_size;
    m2snet_part part;
    int32_t averaged;
    int32_t input_width, input_height;
    int32_t mask_threshold;
    const uint8_t *labels;
    int32_t label_count;
    uint64_t max_pixels;
    m2snet_unreadable unreadable;
    m2snet_control control;
    int32_t tiles;""",
)
Validation = _struct(
    "m2snet_validation",
    """size_t struct_size;
    int32_t images, unreadable;
    double dice, iou;
    double seconds;""",
)
TrainerInfo = _struct(
    "m2snet_trainer_info",
    """size_t struct_size;
    int64_t epoch, batch;
    int64_t step, updates;
    uint64_t parameters;
    uint64_t state_bytes;
    uint64_t arena_bytes;
    int32_t plans;
    double best_score;
    int64_t best_epoch;
    const char *recipe_json;""",
)
AreaAgreement = _struct(
    "m2snet_area_agreement",
    """size_t struct_size;
    int32_t count;
    double bias;
    double deviation;
    double lower, upper;""",
)
CompareOptions = _struct(
    "m2snet_compare_options",
    """size_t struct_size;
    int32_t resamples;
    double level;
    uint64_t seed;
    m2snet_control control;""",
)
Difference = _struct(
    "m2snet_difference",
    """size_t struct_size;
    int32_t pairs;
    double first, second;
    double difference;
    double low, high;
    double share_above;""",
)


def check(size_of: Any) -> List[str]:
    """What differs between these structs and a library; size_of(name) gives the library's bytes, 0 when it has none."""
    differences = []
    for name, struct in STRUCTS.items():
        here, there = ctypes.sizeof(struct), size_of(name.encode())
        if here != there:
            differences.append(f"{name} has {here} bytes here, {there or 'none'} in the library")
    return differences
