#!/bin/bash
# Process 1 of a fake node: STATE NODE NET. When it ends, everything on the node ends with it.
state=$1 node=$2 net=$3
if [ "$net" = ns ]; then
  hostname "$node"
  mount --bind "$state/hosts" /etc/hosts
  mount --bind /dev/null /etc/resolv.conf # no name server: look-ups must not wait for one
fi
mount -t tmpfs -o size=1g tmpfs /dev/shm
slurmd -D -N "$node" -f "$state/slurm.conf" >>"$state/log/slurmd.$node.err" 2>&1 &
while :; do sleep infinity & wait $!; done
