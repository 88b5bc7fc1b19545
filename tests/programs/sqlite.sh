# A database.
sqlite3 t.db 'create table t(a integer primary key, b text); begin;' "$(for i in $(seq 500); do echo "insert into t(b) values('row $i');"; done)" 'commit; select count(*), sum(a) from t;'
sqlite3 t.db 'pragma journal_mode=wal; insert into t(b) values("w"); select count(*) from t; pragma integrity_check;'
