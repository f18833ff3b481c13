#define ISA scalar
#include "variant.h"
