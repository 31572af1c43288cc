#!/bin/bash
# cluster.sh COMMAND STATE [NODE]: a real Slurm on one host, as root, with all its files in STATE.
#   start            slurmctld and NODES nodes with GPUS fake gpu:a100 each; then: . STATE/env.sh
#   stop             end all of it
#   kill-node NODE   power off: slurmd, every job process and all they started die at once
#   start-node NODE  power on again
#   kill-slurmd|start-slurmd NODE   kill -9 of the node's slurmd alone, whose jobs run on, and a new one
#   restart-controller   kill -9 of slurmctld, and a new one; kill-controller|start-controller: one of the two
#   kill-accounts|start-accounts   kill -9 of slurmdbd, and a new one (ACCT=dbd)
#   cut|heal NODE    take the node off the network and back (NET=ns)
# Environment of start: NODES=2 CPUS=8 MEM=8000 GPUS=4 MAX_ARRAY=1001 KILL_WAIT=10 BASE_PORT=18000
#   NET=ports|ns (ns: host name, address and network of its own for each node), SUBNET=10.77.0
#   ACCT=none|dbd (dbd: sacct through slurmdbd and MariaDB)
set -eu
command=$1 S=$(realpath -m "$2") node=${3:-}
here=$(dirname "$(realpath "$0")")
NODES=${NODES:-2} CPUS=${CPUS:-8} MEM=${MEM:-8000} GPUS=${GPUS:-4} MAX_ARRAY=${MAX_ARRAY:-1001}
KILL_WAIT=${KILL_WAIT:-10} BASE_PORT=${BASE_PORT:-18000} NET=${NET:-ports} SUBNET=${SUBNET:-10.77.0}
ACCT=${ACCT:-none}
[ "$command" = start ] || . "$S/shape"
address=127.0.0.1 bridge=br${SUBNET//./}
[ "$NET" = ports ] || address=$SUBNET.1
export SLURM_CONF=$S/slurm.conf

alive() { # a zombie is not
  case "$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null)" in ""|Z) return 1;; esac
}
wait_for() { # SECONDS WHAT COMMAND...
  local end=$(($(date +%s) + $1)) what=$2; shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$(date +%s)" -lt "$end" ] || { echo "$what is not up; see $S/log" >&2; return 1; }
    sleep 0.05
  done
}
spawn() { # NAME COMMAND...
  local name=$1; shift
  setsid "$@" >>"$S/log/$name.err" 2>&1 </dev/null &
  echo $! >"$S/run/$name.pid"
}
end() { # NAME [SIGNAL]
  [ -s "$S/run/$1.pid" ] || return 0
  local pid; pid=$(cat "$S/run/$1.pid")
  kill -"${2:-TERM}" "$pid" 2>/dev/null || true
  for _ in $(seq 200); do alive "$pid" || break; sleep 0.05; done
  kill -KILL "$pid" 2>/dev/null || true
  rm -f "$S/run/$1.pid"
}
write_configuration() {
  mkdir -p "$S"/{munge,run,log,ctld,spool,dev,db}
  chmod 755 "$S" "$S"/{run,ctld,spool}
  for v in NODES CPUS MEM GPUS MAX_ARRAY KILL_WAIT BASE_PORT NET SUBNET ACCT; do echo "$v=${!v}"; done >"$S/shape"
  head -c 128 /dev/urandom >"$S/munge/munge.key"; chmod 600 "$S/munge/munge.key"
  local accounts="AccountingStorageType=accounting_storage/none"
  [ "$ACCT" = none ] || accounts="AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((BASE_PORT+2))
AccountingStoragePass=$S/munge/socket"
  {
    cat <<CONF
ClusterName=fake
SlurmctldHost=$(hostname -s)($address)
SlurmctldPort=$((BASE_PORT+1))
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$S/munge/socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
StateSaveLocation=$S/ctld
SlurmctldPidFile=$S/run/slurmctld.own
SlurmctldLogFile=$S/log/slurmctld.log
SlurmdPidFile=$S/run/slurmd.%n.own
SlurmdSpoolDir=$S/spool/%n
SlurmdLogFile=$S/log/slurmd.%n.log
SlurmdParameters=config_overrides
MailProg=/bin/true
ReturnToService=2
EnforcePartLimits=ALL
MaxArraySize=$MAX_ARRAY
MaxJobCount=20000
MinJobAge=300
KillWait=$KILL_WAIT
CompleteWait=0
SlurmdTimeout=10
MessageTimeout=10
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=0,bf_interval=2,batch_sched_delay=0
PriorityType=priority/basic
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
JobRequeue=1
PropagateResourceLimits=NONE
GresTypes=gpu
$accounts
CONF
    local i at
    for i in $(seq "$NODES"); do
      at="NodeHostname=localhost NodeAddr=127.0.0.1 Port=$((BASE_PORT+10+i))"
      [ "$NET" = ports ] || at="NodeHostname=node$i NodeAddr=$SUBNET.$((10+i)) Port=$((BASE_PORT+3))"
      echo "NodeName=node$i $at CPUS=$CPUS RealMemory=$MEM Gres=gpu:a100:$GPUS Feature=a100 State=UNKNOWN"
    done
    echo "PartitionName=gpu Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=10:00 DefMemPerCPU=1000 State=UP"
    echo "PartitionName=short Nodes=ALL MaxTime=2:00 DefaultTime=1:00 DefMemPerCPU=1000 State=UP"
  } >"$S/slurm.conf"
  # slurmd wants character devices; nobody opens them.
  for i in $(seq 0 $((GPUS-1))); do [ -e "$S/dev/nvidia$i" ] || mknod "$S/dev/nvidia$i" c 195 "$i"; done
  echo "NodeName=node[1-$NODES] Name=gpu Type=a100 File=$S/dev/nvidia[0-$((GPUS-1))] Flags=nvidia_gpu_env" >"$S/gres.conf"
  echo "export SLURM_CONF=$S/slurm.conf" >"$S/env.sh"
  { echo "127.0.0.1 localhost"; echo "$SUBNET.1 $(hostname -s)"
    for i in $(seq "$NODES"); do echo "$SUBNET.$((10+i)) node$i"; done; } >"$S/hosts"
}
start_slurmdbd() {
  MYSQL_UNIX_PORT="$S/db/mysql.sock" spawn slurmdbd slurmdbd -D
  wait_for 60 slurmdbd sacctmgr -n list cluster
}
start_accounts() {
  cat >"$S/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$S/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((BASE_PORT+2))
SlurmUser=root
LogFile=$S/log/slurmdbd.log
PidFile=$S/run/slurmdbd.own
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
CONF
  chmod 600 "$S/slurmdbd.conf"
  cat >"$S/my.cnf" <<CONF
[mysqld]
datadir=$S/db/data
socket=$S/db/mysql.sock
pid-file=$S/db/mysql.pid
skip-networking
skip-log-bin
user=root
innodb_buffer_pool_size=128M
innodb_flush_log_at_trx_commit=0
innodb_log_file_size=32M
innodb_lock_wait_timeout=900
innodb_doublewrite=0
CONF
  mariadb-install-db --defaults-file="$S/my.cnf" --auth-root-authentication-method=normal --skip-test-db >"$S/log/mariadb-install.log" 2>&1
  spawn mariadbd mariadbd --defaults-file="$S/my.cnf"
  wait_for 60 mariadbd mariadb-admin --socket="$S/db/mysql.sock" -uroot ping
  mariadb --socket="$S/db/mysql.sock" -uroot -e "create database slurm_acct_db; create user slurm@localhost identified by 'slurm'; grant all on slurm_acct_db.* to slurm@localhost"
  start_slurmdbd
  sacctmgr -i -Q add cluster fake >/dev/null 2>&1 || true
}
start_node() {
  local enter=(); mkdir -p "$S/spool/$1"
  [ "$NET" = ports ] || enter=(nsenter --net="/run/netns/$bridge-$1" unshare --uts)
  spawn "$1" "${enter[@]}" unshare --mount --pid --ipc --fork --kill-child=KILL --mount-proc bash "$here/node.sh" "$S" "$1" "$NET"
}
slurmds() { pgrep -f "^slurmd -D -N $1 -f $S/slurm.conf" || true; }
start_slurmd() { # on a node that has power
  local init; init=$(pgrep -P "$(cat "$S/run/$1.pid")")
  setsid nsenter --target "$init" --mount --uts --ipc --net --pid \
    slurmd -D -N "$1" -f "$S/slurm.conf" >>"$S/log/slurmd.$1.err" 2>&1 </dev/null &
}
end_network() {
  local i
  for i in $(seq "$NODES"); do ip netns del "$bridge-node$i" 2>/dev/null || true; done
  ip link del "$bridge" 2>/dev/null || true
}
network() {
  end_network # of a session that was killed
  ip link add "$bridge" type bridge; ip addr add "$SUBNET.1/24" dev "$bridge"; ip link set "$bridge" up
  local i
  for i in $(seq "$NODES"); do
    ip netns add "$bridge-node$i"
    ip link add "v$bridge$i" type veth peer name eth0 netns "$bridge-node$i"
    ip link set "v$bridge$i" master "$bridge" up
    ip -n "$bridge-node$i" addr add "$SUBNET.$((10+i))/24" dev eth0
    ip -n "$bridge-node$i" link set eth0 up; ip -n "$bridge-node$i" link set lo up
  done
}
start_controller() {
  spawn slurmctld slurmctld -D -f "$S/slurm.conf"
  wait_for 30 slurmctld bash -c 'scontrol ping | grep -q "is UP"'
}
case $command in
start)
  write_configuration
  [ "$NET" = ports ] || network
  spawn munged munged --foreground --num-threads=4 --socket="$S/munge/socket" --key-file="$S/munge/munge.key" \
    --pid-file="$S/munge/munged.pid" --log-file="$S/log/munged.log" --seed-file="$S/munge/seed"
  wait_for 20 munged test -S "$S/munge/socket"
  [ "$ACCT" = none ] || start_accounts
  start_controller
  for i in $(seq "$NODES"); do start_node "node$i"; done
  wait_for 30 nodes bash -c "[ \$(sinfo -h -N -p gpu -t idle -o %N | wc -l) = $NODES ]" ;;
stop)
  for i in $(seq "$NODES"); do end "node$i" KILL; done
  for daemon in slurmctld slurmdbd mariadbd munged; do end "$daemon"; done
  [ "$NET" = ports ] || end_network ;;
kill-node) end "$node" KILL ;;
start-node) start_node "$node" ;;
kill-slurmd) for pid in $(slurmds "$node"); do kill -KILL "$pid" 2>/dev/null || true; done ;;
start-slurmd) start_slurmd "$node" ;;
kill-controller) end slurmctld KILL ;;
start-controller) start_controller ;;
restart-controller) end slurmctld KILL; start_controller ;;
kill-accounts) end slurmdbd KILL ;;
start-accounts) start_slurmdbd ;;
cut) ip link set "v$bridge${node#node}" down ;;
heal) ip link set "v$bridge${node#node}" up ;;
*) echo "unknown command $command" >&2; exit 2 ;;
esac
