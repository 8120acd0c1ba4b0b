/* SPDX-License-Identifier: Apache-2.0
 * Packed weights of one model on one device, shared by all its sessions. */
#ifndef M2S_RUN_PACK_CACHE_H
#define M2S_RUN_PACK_CACHE_H

#include "backends/backend.h"

m2snet_status m2s_pack_cache_create(m2s_memory *memory, m2s_pack_cache **cache, m2snet_error *error);
void m2s_pack_cache_destroy(m2s_pack_cache *cache); /* all packs released; NULL is fine */
/* Of all packs held now, in use or kept for the next plan. */
size_t m2s_pack_cache_bytes(m2s_pack_cache *cache);
/* Frees the packs that no plan uses. */
void m2s_pack_cache_trim(m2s_pack_cache *cache);

#endif
