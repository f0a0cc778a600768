package approle

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// A page that the old version has made asks for that version's assets, also
// after a swap; and during one a page of the new version may reach the old one.
// So every container mounts a volume over its assets that has those of the
// version before and after too. Kamal's asset_path does that; directories and
// names here are its own, so that the two can take turns.

// noAssets is extractassets' exit code where docker can't copy the path out of the image.
const noAssets = 66

// assetsPrelude defines the shell functions of the steps. ASSETS is the app's
// directory, VERSION the name of a version in it.
//
//	extractassets ASSETS VERSION CONTAINER IMAGE PATH [fresh]
//	mergeassets ASSETS FROM TO
//	bridgeassets ASSETS VERSION OLDVOLUME OLDEXTRACTED OLDCONTAINER PATH
//
// Other than with Kamal's cp -rn, a file is whole when it appears, since it is
// linked there: one that was cut off would never be copied again. Old cp fails
// with -n where it keeps a file (coreutils 9.2 to 9.4), but then it has the
// other option.
const assetsPrelude = `
ownassets() { [ "${KAMAL_UID:-0}" = 0 ] || find "$1" -user 0 -exec chown -h "$KAMAL_UID:$KAMAL_GID" {} +; }
copyassets() { rm -rf "$3"; mkdir "$3" && docker container cp -L "$1:$2/." "$3" && chmod -R u+rwX,go+rX "$3"; }
extractassets() {
  umask 022
  putdir "$1/extracted" && putdir "$1/volumes" || return
  docker container rm --volumes "$3" >/dev/null 2>&1
  docker container create --name "$3" "$4" true >/dev/null || return
  copyassets "$3" "$5" "$1/.new"; _r=$?
  docker container rm --volumes "$3" >/dev/null || return
  [ $_r != 0 ] || [ -z "${6-}" ] || rm -rf "$1/extracted/$2" "$1/volumes/$2"
  if [ $_r != 0 ]; then rm -rf "$1/.new"; rmdir "$1/volumes" 2>/dev/null; rmdir -p "$1/extracted" 2>/dev/null; return 66; fi
  mkdir -p "$1/extracted/$2" && cp -rlfT "$1/.new" "$1/extracted/$2" && ownassets "$1/extracted/$2" && rm -rf "$1/.new" &&
  mergeassets "$1" "$1/extracted/$2" "$1/volumes/$2"
}
mergeassets() {
  umask 022
  _keep=-n; if cp --update=none --help >/dev/null 2>&1; then _keep=--update=none; fi
  rm -rf "$1/.copy"
  cp -rT "$2" "$1/.copy" && mkdir -p "$3" && cp -rlT $_keep "$1/.copy" "$3" && ownassets "$3"; _r=$?
  rm -rf "$1/.copy"; return $_r
}
bridgeassets() {
  _failed=0
  [ ! -d "$3" ] || mergeassets "$1" "$1/extracted/$2" "$3" || _failed=1
  if [ -d "$4" ]; then
    mergeassets "$1" "$4" "$1/volumes/$2" || _failed=1
  elif copyassets "$5" "$6" "$1/.old" 2>/dev/null; then
    mergeassets "$1" "$1/.old" "$1/volumes/$2" || _failed=1
  fi
  rm -rf "$1/.old"; return $_failed
}
`

// assetsName is the name of the spec's version in the app's assets, "" where it
// has none.
func (s Spec) assetsName() string {
	if s.AssetPath == "" {
		return ""
	}
	return kamal.AssetsName(s.Role, s.Version())
}

// assetsBind is the volume of the new container's assets, for a server where
// the SSH user's home is home.
func (s Spec) assetsBind(home string) string {
	return home + "/" + kamal.AssetsDir(s.Role.App()) + "/volumes/" + s.assetsName() + ":" + s.AssetPath
}

// cutAssets takes a mount of a volume of the role's assets apart: its directory
// on the server, and the asset path with its options.
func cutAssets(role kamal.Role, bind string) (dir, assetPath string, ok bool) {
	dir, assetPath, _ = strings.Cut(bind, ":")
	ok = strings.HasSuffix(path.Dir(dir), "/"+kamal.AssetsDir(role.App())+"/volumes") && strings.HasPrefix(path.Base(dir), kamal.AssetsName(role, ""))
	return dir, assetPath, ok
}

// assetsOf is the directory of the volume that a container mounts, "" where it
// has no assets.
func assetsOf(role kamal.Role, c docker.Container) string {
	for _, bind := range workload.Binds(c) {
		if dir, _, ok := cutAssets(role, bind); ok {
			return dir
		}
	}
	return ""
}

// addAssets makes the volume of the new container's assets. Nothing else may
// have been changed before: an image may not have the path.
func (r *rollout) addAssets(b *fleet.Batch, s *site) {
	spec := r.Spec
	if spec.AssetPath == "" {
		return
	}
	assets := kamal.AssetsDir(spec.Role.App())
	dir, _, _ := strings.Cut(spec.AssetPath, ":")
	dir = path.Clean(dir)
	b.Call.Prelude += assetsPrelude
	old, volume := s.have.Current, ""
	if old != nil {
		volume = assetsOf(spec.Role, *old)
	}
	extract := []string{"extractassets", assets, spec.assetsName(), spec.Role.Prefix() + "-assets", spec.Image, dir}
	if path.Base(volume) != spec.assetsName() {
		// What is there by this name is of a run that died, or of a tag that has
		// moved since: a manifest of that would be kept.
		extract = append(extract, "fresh")
	}
	b.Run("assets", "copy the assets in "+dir+" out of the image", extract...)
	if old == nil {
		return
	}
	extracted := ""
	if volume != "" {
		extracted = path.Join(path.Dir(path.Dir(volume)), "extracted", path.Base(volume))
	}
	if path.Base(volume) == spec.assetsName() {
		return // they share it
	}
	b.Add("bridge", sshexec.Step{Title: "give the old version's assets to the new one, and the new one's to it", KeepGoing: true,
		Script: sshexec.Join("bridgeassets", assets, spec.assetsName(), volume, extracted, old.ID, dir)})
}

// prepareAssets makes the volume of the new container's assets before any
// container is started.
func (r *rollout) prepareAssets(ctx context.Context, s *site) error {
	b := fleet.NewBatch("prepare the assets")
	b.Add("lock", kamal.HoldsLock(r.Spec.Role.App(), r.fleet.Run))
	r.addAssets(b, s)
	s.assets = true // or a part of them
	res, err := s.server.Change(ctx, b.Call)
	if err == nil {
		err = r.assetsFailed(b, res, s)
	}
	if err == nil && !b.Done(res, "assets") {
		err = b.Failed(res)
	}
	return err
}

// addDropAssets removes the assets of a version that was not begun.
func (r *rollout) addDropAssets(b *fleet.Batch, s *site) {
	if s.assets && !s.started {
		r.addRemoveAssets(b, s, s.have.assets())
	}
}

// assetsFailed is the failure of a server where the new container's assets
// could not be made: nothing else has been done there. Nil: they were.
func (r *rollout) assetsFailed(b *fleet.Batch, res *sshexec.Result, s *site) error {
	if b.Has("bridge") && !b.Done(res, "bridge") && b.Result(res, "bridge").Ran {
		r.warn("Pages of the old version may miss assets on "+s.name,
			"They could not be put together with those of the new version: "+string(b.Result(res, "bridge").Stderr))
	}
	step := b.Result(res, "assets")
	if !b.Has("assets") || !step.Ran || step.ExitCode == 0 {
		return nil
	}
	cause, next := "", ""
	if step.ExitCode == noAssets {
		cause = "docker could not copy " + r.Spec.AssetPath + " (asset_path) out of the image " + r.Spec.Image
		next = "if the image has no such directory, give the right one as asset_path or take it out, and apply again."
	}
	return r.failure(s, "", cause, next, b.Failed(res))
}

// addRemoveAssets removes the role's assets but those of the version called
// keep, "" for none, and what containers of other roles mount: Kamal's names
// don't tell version v1 of web-admin from version admin-v1 of web.
// Where the lock has become another run's it removes nothing, whoever calls it:
// what would go may be what that run's container mounts.
func (r *rollout) addRemoveAssets(b *fleet.Batch, s *site, keep string) {
	role := r.Spec.Role
	mounts := func(c docker.Container) bool { return assetsOf(role, c) != "" }
	if r.Spec.AssetPath == "" && !slices.ContainsFunc(s.have.all(), mounts) {
		return
	}
	dir := sshexec.Quote(kamal.AssetsDir(role.App()))
	find := []string{"-mindepth", "1", "-maxdepth", "1", "-name", kamal.AssetsName(role, "*")}
	stay := []string{keep}
	for _, c := range s.have.Snapshot.Containers {
		if name := assetsOf(role, c); name != "" && !role.Owns(c.ContainerName(), c.Labels()) {
			stay = append(stay, path.Base(name))
		}
	}
	for _, name := range stay {
		if name != "" {
			find = append(find, "!", "-name", name)
		}
	}
	b.Add("old assets", sshexec.Step{Title: "remove old assets", KeepGoing: true,
		Script: "{ " + kamal.HoldsLock(role.App(), r.fleet.Run).Script + "; } 2>/dev/null || exit 0; [ ! -d " + dir + " ] || find " + dir + "/extracted " + dir + "/volumes " + sshexec.Join(find...) + " -exec rm -rf {} +; " +
			"rm -rf " + dir + "/.new " + dir + "/.copy " + dir + "/.old; rmdir " + dir + "/extracted " + dir + "/volumes " + dir + " 2>/dev/null || :"})
}

// assets is the name of the assets of the container that is there, "" where it
// has none.
func (o Observed) assets() string {
	if o.Current == nil {
		return ""
	}
	if dir := assetsOf(o.Role, *o.Current); dir != "" {
		return path.Base(dir)
	}
	return ""
}
