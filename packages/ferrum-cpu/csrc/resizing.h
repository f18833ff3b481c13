/* Resizing of planes: what Python calls, and its declaration there. */

/* Resize x (planes, h, w), dense, to out (planes, rows, columns). Entry i of an axis is the sum
   over taps t of weights[t, i] times the entry at places[t, i]; a place at or behind the end of x
   is none. An axis whose places are 0 stays as it is; if no weights are given, entries of 4 or 8
   bytes are copied from their one place. */
int resize(uintptr_t x, uintptr_t out, uintptr_t row_places, uintptr_t row_weights,
           uintptr_t column_places, uintptr_t column_weights);
