"""Names for the numbers of a plan: what a kernel is told about one call, as one array of integers.

Kernels run through a function pointer, so that one launcher serves them all and each is compiled once. What they
need travels in a plan: sizes, addresses of arrays, and choices. The same plan can be launched again, which is what
makes a stream cheap. ``get(plan, p.T)`` reads an entry in compiled code.
"""

# sizes
T, B, I, H, P, D = range(6)  # P: size of h (H, or the projection's size); D: directions
ROWS = 6  # rows of z per block: all rows of all steps, or those of one chunk in inference
BLOCKS = 7  # blocks of hidden units
MEMBERS = 8  # threads that share one direction
TEAMS = 9  # directions that run at the same time
SPLIT_UNITS = 10  # 1: members share the hidden units of every step; 0: the sequences of the batch
CHUNK = 11  # time steps per input product; backward: per block of matrix products
TRAINING = 12  # 1: keep gates and cell states
WHOLE = 13  # 1: z holds the rows of all steps, 0: of one chunk
REPACK = 14  # 1: weights have changed since they were packed
SCRATCH_SIZE = 15  # numbers of scratch per member

# addresses; an entry per direction where each has its own
X, H_SLOTS, H0, H_N, C0, C_N = range(16, 22)
OFFSETS = 22  # (T + 1,) first row of every step, 0 without lengths
LENGTHS = 23  # (B,) 0 without lengths
Z = 24  # (D, BLOCKS, ROWS, slots)
CARRY = 25  # (D, BLOCKS, T + 1 or 1, B, lanes)
PACKED_IH, PACKED_HH, PACKED_HR, BIAS = range(26, 30)
SCRATCH = 30
SYNC = 31
W_IH, W_HH, B_IH, B_HH, W_HR = 32, 34, 36, 38, 40
EDGES = 42  # (SLICES + 1,) first sequence of every slice of the batch
M_SLOTS = 43  # (D, T or 1, B, H) output before the projection

# backward
DY, DX, DH_N, DH0, DC_N, DC0 = range(44, 50)  # DX: (D, rows, I)
HAS_CARRY = 50  # 1: C0 and its relatives mean something
DCARRY = 51  # (D, BLOCKS, B, lanes)
DH_START = 52  # (D, B, padded P) dh_n, in whole vectors
DH_TOTAL = 53  # (D, rows, P) gradient of the projection's output
DW_IH, DW_HH, DB_IH, DB_HH, DW_HR = 54, 56, 58, 60, 62
PHASES = 64
TILES = 64  # TILES + n: address of the tile that is n vectors wide, n = 1 .. 4

# slices of the batch: one per member, or as many as the shape alone says
SLICES = 69
BANDS = 70  # (B, 2) of every sequence: first of the band it lies in, and how many lie there; 0: all are one band
SUMS = 71  # (D, SLICES - 1, SUMS_SIZE) gradients of the weights, summed over each slice but the first; 0: over all
SUMS_SIZE = 72
Y = 73  # (T, B, D * P) the caller's copy of the hidden states, in training without lengths
SPLIT_TILES = 73  # SPLIT_TILES + n: a split tile; for n = 4, where the sums fill the registers, the plain one
LENGTH = 78
