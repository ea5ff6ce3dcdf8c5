/* Which instruction sets a build has (its build script defines SC_HAS_...), and which of them the processor runs. */
#ifndef SC_VARIANTS_H
#define SC_VARIANTS_H

#include "model.h"

/* NULL for a variant that is not here; the best where no name is given. */
const Variant *sc_find_variant(const char *name);

#endif
