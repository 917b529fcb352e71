#!/bin/sh
# Wait until a unit that a timer starts has run and ended: $1 is its name.
while [ "$(systemctl show --property=ExecMainExitTimestampMonotonic --value "$1")" = 0 ]; do
    sleep 0.5
done
