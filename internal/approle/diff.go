package approle

import (
	"slices"

	"github.com/kamal-terraform/terraform-provider-kamal/internal/docker"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/kamal"
	"github.com/kamal-terraform/terraform-provider-kamal/internal/workload"
)

// view is the role's container as package workload reads it, for a role with
// these volumes.
func (o Observed) view(volumes []string) workload.View {
	v := workload.View{Image: o.Image, Defaults: o.Snapshot.Defaults(), OwnEnv: isKamalEnv, OwnHostname: true,
		OwnLabel: func(name string) bool { return slices.Contains(kamal.ReservedLabels, name) }}
	if o.Current != nil {
		v.Container = *o.Current
		v.SecretNames = o.Snapshot.SecretNames(v.Container)
		for _, bind := range workload.Binds(v.Container) {
			_, assets, isAssets := cutAssets(o.Role, bind)
			switch {
			case slices.Contains(volumes, bind) || !ownVolume(bind):
				v.Volumes = append(v.Volumes, bind)
			case isAssets:
				v.AssetPath = assets
			}
		}
	}
	return v
}

// FromContainer is the part of a spec that the role's container shows.
func FromContainer(o Observed, prior Spec) Spec {
	s := prior
	s.Spec = workload.FromContainer(o.view(prior.Volumes), prior.container())
	s.Network = prior.Network
	return s
}

// Losses are sentences on what somebody gave the role's container that no
// attribute holds: the next one will not have it.
func (o Observed) Losses() []string { return workload.Losses(o.view(nil)) }

// secretsArrived says that the role's container runs with the spec's secrets.
func (s Spec) secretsArrived(o Observed) bool {
	values := o.Snapshot.Secrets(*o.Current)
	for name, value := range s.Secrets {
		if v, ok := values[name]; !ok || v != value {
			return false
		}
	}
	return true
}

// Differs names the attributes in which a container is not what spec wants;
// empty means that it fits. Names are the ones of the resource.
func (s Spec) Differs(o Observed) []string {
	return s.container().Changes(workload.FromContainer(o.view(s.Volumes), s.container()))
}

// Changes names the attributes in which two specs make different containers,
// whatever their spelling; but an image's spelling is in the state.
func (s Spec) Changes(is Spec) []string {
	out := s.container().Changes(is.container())
	if s.Image != is.Image && docker.SameRef(s.Image, is.Image) {
		out = append(out, "image")
	}
	return out
}

// Agreed is what all containers show alike; where they disagree, or where
// there are none, prior.
func Agreed(prior Spec, specs []Spec) Spec {
	var containers []workload.Spec
	for _, s := range specs {
		containers = append(containers, s.Spec)
	}
	prior.Spec = workload.Agreed(prior.Spec, containers)
	return prior
}
