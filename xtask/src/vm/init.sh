#!/bin/busybox sh
# Process 1 of the virtual machine: makes the file systems and modules that the tests want, runs them, switches off.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
for module in /modules/*.ko; do
    insmod "$module"
done
echo "kernel: $(uname -r)"
for test in /tests/*; do
    echo "running ${test##*/}"
    timeout 900 "$test" --test-threads=1 --show-output
    code=$?
    # The harness says itself what passed (0) and failed (101).
    case $code in
        0 | 101) ;;
        *) echo "test result: FAILED. 0 passed; 1 failed; exit code $code" ;;
    esac
done
echo "vm: end"
poweroff -f
