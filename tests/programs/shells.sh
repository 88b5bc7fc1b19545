# Pipelines, here-documents, jobs, traps, subshells, in bash and dash.
for shell in bash dash; do
    $shell <<'END'
echo one two three | tr ' ' '\n' | sort | head -2
cat <<EOT
here $((6 * 7))
EOT
(exit 3); echo "status $?"
trap 'echo trapped' USR1; kill -USR1 $$
sleep 0.05 & wait $!; echo "waited $?"
false || echo or
x=$(printf '%s-' a b c); echo "$x"
for i in 1 2 3; do echo $i; done | while read n; do echo "n=$n"; done
END
    echo "$shell ended with $?"
done
bash -c 'exit 42'; echo $?
bash -c 'kill -SEGV $$'; echo $?
set -o pipefail; false | true; echo $?
diff <(echo a) <(echo b); echo $?
timeout 0.2 sleep 5; echo "timeout $?"
timeout -s KILL 0.2 sleep 5; echo "timeout $?"
