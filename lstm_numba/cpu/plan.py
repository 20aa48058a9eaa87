"""Names for the numbers of a plan: what a kernel is told about one call, as one array of integers.

Kernels run through a function pointer, so that one launcher serves them all and each is compiled once. What they
need travels in a plan: sizes, addresses of arrays, and choices. The same plan can be launched again, which is what
makes a stream cheap. ``get(plan, p.T)`` reads an entry in compiled code.
"""

# sizes
T, B, I, H, P, D = range(6)  # P: size of h (H, or the projection's size); D: directions
BLOCKS = 6  # blocks of hidden units
MEMBERS = 7  # threads that share one direction
TEAMS = 8  # directions that run at the same time
SPLIT_UNITS = 9  # 1: members share the hidden units of every step; 0: the sequences of the batch
CHUNK = 10  # time steps per input product; backward: per block of matrix products
TRAINING = 11  # 1: keep gates and cell states
WHOLE = 12  # 1: z holds the rows of all steps, 0: of one chunk
REPACK = 13  # 1: weights have changed since they were packed
SCRATCH_SIZE = 14  # numbers of scratch per member

# addresses; an entry per direction where each has its own
H0, H_N, C0, C_N, X = range(15, 20)
Y = 20  # (T, B, D * P) the caller's copy of the hidden states, in training without lengths

# what the backward pass takes over from the plan of the forward pass
H_SLOTS = 21  # (T + 2, B, D * P)
X_KEPT = 22  # (T, B, I) x, or a copy of it that the forward pass makes
Z = 23  # (D, BLOCKS, ROWS, slots)
ROWS = 24  # rows of z per block: all rows of all steps, or those of one chunk in inference
CARRY = 25  # (D, BLOCKS, T + 1 or 1, B, lanes)
M_SLOTS = 26  # (D, T or 1, B, H) output before the projection
BANDS = 27  # (B, 2) of every sequence: first of the band it lies in, and how many lie there; 0: all are one band
TAKEN_OVER = slice(H_SLOTS, BANDS + 1)

# each pass has its own
PACKED_IH, PACKED_HH, PACKED_HR, BIAS = range(28, 32)
W_IH, W_HH, B_IH, B_HH, W_HR = 32, 34, 36, 38, 40
EDGES = 42  # (SLICES + 1,) first sequence of every slice of the batch
SLICES = 43  # parts of the batch that members take: one each, or as many as the shape alone says

# backward
DH_N, DH0, DC_N, DC0, DY, DX = range(44, 50)  # DX: (D, rows, I)
# 50 and 51 are written with them: addresses come eight at a time
DH_START = 52  # (D, B, padded P) dh_n, in whole vectors
DH_TOTAL = 53  # (D, rows, P) gradient of the projection's output
DW_IH, DW_HH, DB_IH, DB_HH, DW_HR = 54, 56, 58, 60, 62
PHASES = 64
TILES = 64  # TILES + n: address of the tile that is n vectors wide, n = 1 .. 4
SPLIT_TILES = 68  # SPLIT_TILES + n: a split tile; for n = 4, where the sums fill the registers, the plain one
DCARRY = 73  # (D, BLOCKS, B, lanes)
SUMS = 74  # (D, SLICES - 1, SUMS_SIZE) gradients of the weights, summed over each slice but the first; 0: over all
SUMS_SIZE = 75
ORDER = 71  # slices that sums over all rows run through, one after the other

# both
HAS_CARRY = 76  # 1: C0 and its relatives mean something
SCRATCH = 77
SYNC = 78
OFFSETS = 79  # (T + 1,) first row of every step, 0 without lengths
LENGTHS = 80  # (B,) 0 without lengths
LENGTH = 81
