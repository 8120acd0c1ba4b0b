/* SPDX-License-Identifier: Apache-2.0
 * A graph compiled for a context's device, with the buffers of its inputs and outputs. */
#ifndef M2S_RUN_PROGRAM_H
#define M2S_RUN_PROGRAM_H

#include "run/context.h"
#include "run/state.h"
#include "weights/store.h"

typedef struct m2s_program m2s_program;

/* Takes the network as built and, unless the backend is literal, runs the inference passes; then compiles. Parameters
 * come from store by name (F64, F32, F16, BF16, shapes as in the graph: see fit.h). of
 * precision, F16, BF16 and TF32 count; F32 and F64 are the graph's. graph is not kept. */
m2snet_status m2s_program_create(m2snet_context *context, const m2s_graph *graph, m2snet_precision precision,
                                 const m2s_store *store, m2s_pack_cache *packs, m2s_control *control,
                                 m2s_program **program, m2snet_error *error);
/* A step graph, compiled as it is: passes done, state bound to state by name (which outlives the program), constants
 * from store, whose names are the graph's without `prefix`; store and packs may be NULL when there are none. */
m2snet_status m2s_program_create_step(m2snet_context *context, const m2s_graph *graph, m2snet_precision precision,
                                      const m2s_store *store, const char *prefix, m2s_pack_cache *packs,
                                      m2s_state *state, m2s_control *control, m2s_program **program,
                                      m2snet_error *error);
void m2s_program_destroy(m2s_program *program); /* NULL is fine */

void m2s_program_info(const m2s_program *program, m2s_plan_info *info);
bool m2s_program_step(const m2s_program *program, int32_t index, m2s_step_info *info);
/* The compiled graph: passes done. */
const m2s_graph *m2s_program_graph(const m2s_program *program);

/* Dense, channels last, in the graph's dtype; name is an input's or an output's. */
m2snet_status m2s_program_write(m2s_program *program, const char *name, const void *data, m2snet_error *error);
/* The input, whose shape is the request's, made by the device, whose backend has buffer_prepare. */
m2snet_status m2s_program_prepare(m2s_program *program, const char *name, const m2s_prepare_request *request,
                                  m2s_buffer *scratch, m2snet_error *error);
/* Both inputs of a training step, as buffer_augment makes them. */
m2snet_status m2s_program_augment(m2s_program *program, const char *images, const char *masks,
                                  const m2s_augment_request *request, m2s_buffer *scratch, m2snet_error *error);
m2snet_status m2s_program_read(const m2s_program *program, const char *name, void *data, m2snet_error *error);
/* arena: at least plan_info.arena_bytes, not used by another run at the same time. */
m2snet_status m2s_program_run(m2s_program *program, m2s_buffer *arena, bool time_steps, m2s_control *control,
                              m2snet_error *error);
/* A network's program: enqueued on the stream, with image and logits in the caller's memory of the device. */
m2snet_status m2s_program_enqueue(m2s_program *program, m2s_buffer *arena, void *stream, const void *image,
                                  void *logits, m2snet_error *error);

#endif
