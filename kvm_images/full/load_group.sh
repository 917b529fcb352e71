#!/bin/sh
# Load the modules of a group, in order: $1 is its name, $2 the folder that holds them all.
while read -r module; do
    insmod "$2/$module" || echo "mdjournal: insmod $module failed"
done <"$2/$1.order"
