# What Flower is like wherever it runs; addresses and secrets come from the command line and the environment.
natural_time = True
tasks_columns = "name,uuid,state,args,received,started,runtime,worker,retries"
# A worker that was replaced leaves the list after ten minutes.
purge_offline_workers = 600
# The last three minutes of a busy fleet, 75 MiB; the ledger, not Flower, remembers.
max_tasks = 10000
