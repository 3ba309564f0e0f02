"""A judge of Maelstrom nodes, written from the protocol alone.

It starts any program that speaks Maelstrom's protocol on its standard input and output, carries
its messages over a network of its own (seeded latency, loss, partitions), asks it what a workload
asks, and judges the history. Python's standard library only, and no line shared with any node.

    network     who hears what, when, and what is lost
    process     one node: a child process and its lines
    client      questions with deadlines, answers checked against the protocol
    nemesis     partitions, kills, pauses
    workload    what is asked, per workload, and which checker judges it
    runner      the phases of one run
    history     operations, and how they are written (JSON lines, EDN)
    check_*     the rules
    report      the table

What the words mean (Jepsen's): an operation is `ok` (it happened), `fail` (it certainly did not)
or `info` (nobody knows). An error with code 0, 13 or from 1000 up is `info`, every other `fail`,
and a time-out is `info`. A node that says `fail` of something that took effect has lied.
"""
