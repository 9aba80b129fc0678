"""Products of frozen weights in 8 bits, faster than bf16 on CPUs with VNNI. Trainers use them."""
