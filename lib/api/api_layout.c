/* SPDX-License-Identifier: Apache-2.0
 * The sizes of the public structs, for bindings. */
#include <string.h>

#include "api/api.h"

size_t m2snet_struct_size(const char *name)
{
#define ROW(type)                                                                                                      \
    {                                                                                                                  \
#type, sizeof(type)                                                                                            \
    }
    static const struct {
        const char *name;
        size_t bytes;
    } rows[] = {
        ROW(m2snet_error),
        ROW(m2snet_progress),
        ROW(m2snet_control),
        ROW(m2snet_allocator),
        ROW(m2snet_context_options),
        ROW(m2snet_context_info),
        ROW(m2snet_device_allocator),
        ROW(m2snet_cuda_options),
        ROW(m2snet_cuda_run),
        ROW(m2snet_backend_info),
        ROW(m2snet_model_options),
        ROW(m2snet_save_options),
        ROW(m2snet_model_info),
        ROW(m2snet_tensor_info),
        ROW(m2snet_feature_info),
        ROW(m2snet_tensor_desc),
        ROW(m2snet_session_options),
        ROW(m2snet_plan_info),
        ROW(m2snet_step_info),
        ROW(m2snet_image),
        ROW(m2snet_image_read_options),
        ROW(m2snet_predict_options),
        ROW(m2snet_component),
        ROW(m2snet_feature),
        ROW(m2snet_receipt),
        ROW(m2snet_evaluator_options),
        ROW(m2snet_surface_scores),
        ROW(m2snet_scores),
        ROW(m2snet_label_scores),
        ROW(m2snet_file_pair),
        ROW(m2snet_set_info),
        ROW(m2snet_calibration),
        ROW(m2snet_area_agreement),
        ROW(m2snet_compare_options),
        ROW(m2snet_difference),
        ROW(m2snet_source_options),
        ROW(m2snet_augment_options),
        ROW(m2snet_split_options),
        ROW(m2snet_dataset_item),
        ROW(m2snet_dataset_set),
        ROW(m2snet_lint_options),
        ROW(m2snet_finding),
        ROW(m2snet_duplicates_options),
        ROW(m2snet_near_pair),
        ROW(m2snet_lossnet_options),
        ROW(m2snet_objective_options),
        ROW(m2snet_objective_values),
        ROW(m2snet_trainer_options),
        ROW(m2snet_train_row),
        ROW(m2snet_epoch_row),
        ROW(m2snet_fit_options),
        ROW(m2snet_validation_options),
        ROW(m2snet_validation),
        ROW(m2snet_trainer_info),
    };
#undef ROW

    for (size_t i = 0; name != NULL && i < sizeof rows / sizeof rows[0]; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return rows[i].bytes;
        }
    }
    return 0;
}
