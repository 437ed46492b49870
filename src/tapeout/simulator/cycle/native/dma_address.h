/* The address half of a load or store engine: commands to runs, runs to pieces (`chip.rtl.dma_address`). */
#ifndef TAPEOUT_CYCLE_DMA_ADDRESS_H
#define TAPEOUT_CYCLE_DMA_ADDRESS_H

#include "model.h"

enum { TILE = 32 };

void address_start(model *m, addresser *x, const command *c, bool is_load);
void address_offer(model *m, addresser *x, bool empty);
void address_clock(model *m, addresser *x, bool index_granted, bool index_came);

#endif
