"""Workers as jobs of Slurm, as many as the queue needs. The command `tunery slurm` runs it.

fleets       the file that says which workers there may be
refused     options of sbatch that it may not have
demand      how much there is to do, by the statement that KEDA runs too
commands    Slurm's own commands: squeue, sbatch, scancel
plan        which Slurm jobs to submit and to cancel; it knows neither Slurm nor the database
controller  one look at both, and what follows from it
"""
