package accessory

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/fleet"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/secret"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/sshexec"
)

// Remove takes an accessory off its server. Its volumes and directories stay,
// unless spec.DeleteData says otherwise: then those go that the accessory
// created. What stays is told in the warnings.
func Remove(ctx context.Context, f *fleet.Fleet, c Change) ([]Warning, error) {
	done, err := f.QueueApp(ctx, c.Spec.Service)
	if err != nil {
		return nil, err
	}
	defer done()
	j := &job{Change: c, fleet: f, server: f.Server(c.Server)}
	stop := f.KeepAlive(ctx, j.server, c.Spec.Service)
	err = j.remove(ctx)
	stop()
	j.unlock(ctx)
	if err != nil {
		failure := j.failure(err)
		failure.What = "remove the accessory " + j.name()
		return j.warnings, failure
	}
	return j.warnings, nil
}

func (j *job) remove(ctx context.Context) error {
	if err := j.lock(ctx); err != nil {
		if j.fleet.KeepUnreachable && fleet.IsUnreachable(err) {
			j.warn(j.Server+" does not answer", fmt.Sprintf("%v\n\nThe accessory %s was forgotten there, because on_unreachable is \"keep\". If the server comes back, its container runs again.", err, j.name()))
			return nil
		}
		return err
	}
	snap := j.have.Snapshot
	switch {
	case !snap.Docker.Installed:
		return nil
	case !snap.Docker.Running:
		return &fleet.Failure{Server: j.Server, Cause: "docker does not answer: " + snap.Docker.Failure, Next: "start it (systemctl start docker), and destroy again."}
	case j.MachineID != "" && j.MachineID != snap.Facts.MachineID:
		j.warn("The accessory "+j.name()+" was forgotten",
			fmt.Sprintf("%s is another machine now (machine-id %s) than the one that the accessory was on (%s). Nothing was removed from it.", j.Server, snap.Facts.MachineID, j.MachineID))
		return nil
	case j.have.Foreign:
		j.warn("The container "+j.name()+" was left on "+j.Server, "It is no accessory by its labels: somebody else made it under the same name.")
		return nil
	}
	if e := j.have.Entry; e != nil {
		j.warn("kamal-proxy on "+j.Server+" still has the service "+j.name(),
			"Its target is gone now ("+strings.Join(e.Targets(), ", ")+"), so that its visitors get errors. The service is the route's to remove (kamal_proxy_route).")
	}
	data := j.data()
	b := j.batch("remove the accessory")
	if c := j.have.Current; c != nil {
		b.Run("stop", "stop the container", "docker", "stop", "-t", strconv.Itoa(seconds(j.Spec.StopTimeout)), c.ID)
		b.Run("rm", "remove the container", "docker", "rm", "--force", c.ID)
	}
	if c := j.have.Aside; c != nil {
		b.Run("rm", "remove the container "+c.ContainerName(), "docker", "rm", "--force", c.ID)
	}
	j.removeUnstarted(b)
	from := len(b.Call.Steps)
	if j.Spec.DeleteData {
		b.Call.Steps = append(b.Call.Steps, removeData(data.created)...)
	}
	to := len(b.Call.Steps)
	b.Add("files", j.removeFiles())
	b.Add("mark", kamal.RemoveMark(MarkKind, j.name()))
	b.Add("audit", j.audit("Removed accessory "+j.Spec.Name))
	b.Add("unlock", kamal.Unlock(j.Spec.Service, j.fleet.Run))
	res, err := j.change(ctx, b)
	j.locked = !b.Done(res, "unlock")
	if err != nil {
		return err
	}
	j.tell(data, res.Steps[from:to])
	return nil
}

// leftData is the data of an accessory.
type leftData struct {
	// created is what the accessory created, other is what was there before or
	// nobody knows of; both as in kamal.Mark.Created.
	created, other []string
}

// data is what the container mounts, sorted by who made it.
func (j *job) data() (d leftData) {
	if j.have.Current == nil {
		return d
	}
	var made []string
	if j.have.Mark != nil {
		made = j.have.Mark.Created
	}
	home := j.have.Snapshot.Facts.Home
	files := path.Join(home, j.Spec.filesDir()) + "/"
	for _, m := range j.have.Current.Mounts {
		item, mark := "directory "+m.Source, "directory "+m.Source
		if m.Type == "volume" {
			item, mark = "volume "+m.Name, "volume "+m.Name
			if anonymousName.MatchString(m.Name) {
				mark = "anonymous " + path.Clean(m.Destination)
			}
		} else if _, hidden := secret.InDir(strings.TrimPrefix(m.Source, home+"/")); hidden || m.Type != "bind" || strings.HasPrefix(m.Source, files) {
			continue
		}
		if slices.Contains(made, mark) {
			d.created = append(d.created, item)
		} else {
			d.other = append(d.other, item)
		}
	}
	return d
}

// tell says in a warning what was kept; steps are those that removed d.created.
func (j *job) tell(d leftData, steps []sshexec.StepResult) {
	var failed []string
	for _, s := range steps {
		if s.ExitCode != 0 {
			failed = append(failed, s.Title+": "+strings.TrimSpace(string(s.Stderr)))
		}
	}
	if len(failed) > 0 {
		j.warn("Not all data of "+j.name()+" could be removed from "+j.Server, strings.Join(failed, "\n"))
	}
	kept, why := slices.Concat(d.created, d.other), "delete_data is not set"
	if j.Spec.DeleteData {
		kept, why = d.other, "they were not created by this resource, or hold what it did not make"
	}
	if len(kept) > 0 {
		slices.Sort(kept)
		j.warn("Data of "+j.name()+" was kept on "+j.Server, "These stay, because "+why+":\n  "+strings.Join(kept, "\n  ")+
			"\n\nRemove a volume with `docker volume rm NAME` once nobody needs it.")
	}
}
