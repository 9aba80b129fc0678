"""Products of frozen weights in 8 bits, twice as fast as in bf16 on CPUs that have VNNI. Trainers use them."""
