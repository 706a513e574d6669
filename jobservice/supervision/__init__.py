"""Several worker processes of one daemon under one supervisor: started, restarted, asked, drained together.

`supervisor` and what it is made of run in the process that was started; `superior` is the other end, in each worker.
Nothing here knows a job, a database or a broker.
"""
