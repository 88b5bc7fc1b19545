# A repository's life.
export HOME=$PWD GIT_AUTHOR_DATE='2020-01-01T00:00:00Z' GIT_COMMITTER_DATE='2020-01-01T00:00:00Z'
git config --global user.name n; git config --global user.email e@x; git config --global init.defaultBranch main
git init -q r; cd r; for i in $(seq 50); do echo $i > f$i; done; git add .; git commit -qm first; git log --oneline
echo more >> f1; git diff --stat; git commit -qam second; git branch b; git checkout -q b; echo b > f2; git commit -qam third; git checkout -q main
git merge -q b; git status --short; git log --format='%h %s'; cd ..; git clone -q r c; git -C c log --oneline | wc -l; git -C c fsck 2>&1 | tail -1; git -C r gc -q; git -C r rev-parse HEAD
