package engine

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kamal-terraform/terraform-provider-kamal/test/testbed"
)

// where says on which engines `make test` runs a test. `make test-all` runs
// each on all of them.
type where int

const (
	// ends: on the oldest and the newest Docker. For what Docker, its image
	// store or its packet filter does.
	ends where = iota
	// newest and oldest: for what is the provider's own doing or the transport's.
	newest
	oldest
	// fixed: the test names its kinds of servers itself, say because there is
	// no Docker on them.
	fixed
)

// table is every test of this package that takes servers.
var table = map[string]where{
	// Roles.
	"TestRoleIsDeployedUpdatedAndGoesBack":            ends,
	"TestRoleSwapUnderLoad":                           ends,
	"TestRoleKilledMidway":                            newest,
	"TestRoleKilledWhileDockerStartsTheContainer":     ends,
	"TestRoleInterrupted":                             oldest,
	"TestRoleWithoutAPort":                            oldest,
	"TestRoleWithoutDockerOrServer":                   newest,
	"TestRoleRemovalTakesItsOwnOnly":                  newest,
	"TestRoleAsAUserWithSudo":                         oldest,
	"TestRoleOnTwoServersIsPutBackWhenOneFails":       oldest, // and the newest
	"TestRoleIsPutBackUnderLoad":                      newest, // and the oldest
	"TestRolesOfOneServerAreSeenInOneCall":            oldest,
	"TestRoleFailuresSayWhyAndLeaveTheServerAlone":    ends,
	"TestRoleCreateThatFailsLeavesNothing":            oldest,
	"TestRoleSSHErrors":                               newest,
	"TestRoleWhoseHealthCannotBeAskedFor":             oldest,
	"TestRoleChangesInPlace":                          ends,
	"TestRoleKeepsAndPrunesVersions":                  ends,
	"TestRoleThatSomebodyElseMadeKeepsWhatItHas":      ends,
	"TestRoleStagingBesideProduction":                 newest,
	"TestRoleWhileOthersWorkOnTheServer":              newest,
	"TestRoleOfTwoRunsAtOnce":                         oldest,
	"TestRoleAssetsUnderLoad":                         ends,
	"TestRoleAssetsThatKamalMade":                     newest,
	"TestRoleAssetsAreOnAllServersBeforeTheFirstSwap": newest,
	"TestRoleAssetsThatFail":                          oldest,
	"TestRoleAssetsOfAUserWithSudo":                   newest,

	// Accessories.
	"TestAccessoryKeepsItsDataThroughReplacements": ends,
	"TestAccessoryKeepsAnonymousVolumes":           newest,
	"TestAccessoryDriftOfEveryAttribute":           ends,
	"TestAccessoryRefusedByDockerIsNotStopped":     ends,
	"TestAccessoryFailuresSayWhy":                  oldest,
	"TestAccessoryLeavesOthersAlone":               newest,
	"TestAccessoryKilledMidway":                    newest,
	"TestAccessoryKilledBetweenCreateAndStart":     oldest,
	"TestAccessoryThatLostItsLockIsNotTouched":     newest,
	"TestAccessoryOverALinkThatBreaks":             oldest,
	"TestAccessoryIsFollowedByItsRoute":            oldest,
	"TestDatabaseIsUpgradedAndPutBackOnItsData":    oldest,

	// Tasks and secrets.
	"TestTaskRunsAndFails":              ends,
	"TestTaskSecretsArrive":             newest,
	"TestTaskWaitsForOthersOfItsApp":    oldest,
	"TestTaskCutOff":                    oldest,
	"TestTaskThatSomebodyElseTouches":   newest,
	"TestNastySecretsArriveByteForByte": newest,

	// kamal-proxy and its routes.
	"TestProxyLives":                                        ends,
	"TestProxyDriftIsSeenAndMended":                         newest,
	"TestProxyBootedThroughSudoKeepsItsFilesTheUsers":       oldest,
	"TestProxyNamesWhoHoldsItsPorts":                        newest,
	"TestProxyThatSomebodyElseBootedIsRefused":              oldest,
	"TestProxyThatDoesNotComeUpSaysWhy":                     newest,
	"TestProxyUpdateInterruptsTrafficBriefly":               ends,
	"TestProxyUpdateGoesOnWhenTheProviderIsKilled":          oldest,
	"TestProxyChangeMindsRoutesThatChangeMeanwhile":         newest,
	"TestProxyReplacedKeepsTheRoutesOfThisProvider":         newest,
	"TestRouteIsChangedMendedMovedAndRemoved":               oldest,
	"TestRouteServesItsOwnCertificate":                      newest,
	"TestRouteRefusesACertificateThatTheProxyCannotRead":    oldest,
	"TestRouteRefusesBeforeItChangesAnything":               newest,
	"TestRouteImportsWhatKamalDeployed":                     oldest,
	"TestRouteChangeMindsRoutesThatChangeMeanwhile":         oldest,
	"TestRouteThatIsBeingMadeElsewhereIsLeftAlone":          newest,
	"TestRouteChangeThatFailsOnOneServerIsFinishedNextTime": oldest,
	"TestRoutesOfRolesStayAsTheyAreWhenRolesAreSwapped":     newest,
	"TestStackGrowsAndShrinks":                              newest,

	// The firewall.
	"TestFirewallLetsThroughWhatIsAllowedAndNothingElse": ends,
	"TestFirewallGuardsFromBeforeDockerStarts":           ends,
	"TestExposedPortsAreWhatTheOutsideReaches":           ends,
	"TestFirewallHasNoMomentInWhichAClosedPortIsOpen":    newest,
	"TestFirewallIsRemovedWithoutATrace":                 newest,
	"TestFirewallRefusesWhatCantBe":                      newest,
	"TestFirewallTellsDriftAndMendsIt":                   oldest,
	"TestFirewallFailuresLeaveWhatWasThere":              oldest,
	"TestFirewallWithAThousandRules":                     oldest,

	// Servers and ways in.
	"TestServerLeavesAnExistingDaemonJSONAndARunningDockerAlone": ends,
	"TestServerOfABareMachineIsRefusedWaitedForAndInstalled":     fixed,
	"TestServerWithAScriptRegistriesKeysAndSwap":                 newest,
	"TestServerIsWaitedForAndMended":                             newest,
	"TestServerRemovesDockerWhenToldTo":                          oldest,
	"TestServerIsToldFromAnotherMachine":                         oldest,
	"TestServerThatDoesNotComeUp":                                oldest,
	"TestEveryUserCanDeploy":                                     newest,
	"TestEveryWayThereDeploys":                                   oldest,
	"TestTwoRegistriesWithTokens":                                ends,
	"TestWhatOthersSetUpForTheirDockerIsNotOurs":                 ends,
	"TestDeployLockIsOneOfAll":                                   newest,

	// What Docker's versions say and do.
	"TestAnImageWhoseTagHasMovedOnIsStillSeen":  ends,
	"TestFreeDiskIsThatWhereDockerKeepsItsData": ends,
}

// enginesOf are the kinds of servers on which a test runs.
func enginesOf(test string) ([]testbed.Kind, error) {
	at, ok := table[test]
	if !ok {
		return nil, fmt.Errorf("%s is not in the table of engines_test.go", test)
	}
	known := testbed.Engines()
	kinds := make([]testbed.Kind, len(known))
	for i, k := range known {
		kinds[i] = k.Kind
	}
	switch chosen := os.Getenv("KAMAL_ENGINES"); chosen {
	case "":
	case "all":
		return kinds, nil
	default:
		list := strings.Fields(chosen)
		out := make([]testbed.Kind, len(list))
		for i, name := range list {
			if out[i] = testbed.Kind(name); !slices.Contains(kinds, out[i]) {
				return nil, fmt.Errorf("KAMAL_ENGINES has %q, want all or some of %q", name, kinds)
			}
		}
		return out, nil
	}
	first, last := testbed.Oldest().Kind, testbed.Newest().Kind
	switch at {
	case newest:
		return []testbed.Kind{last}, nil
	case oldest:
		return []testbed.Kind{first}, nil
	}
	return []testbed.Kind{first, last}, nil
}

// The table has every test that takes a server, and no other.
func TestTableOfEnginesIsWhole(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || !strings.HasPrefix(f.Name.Name, "Test") {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if c, ok := n.(*ast.CallExpr); ok {
					if name, ok := c.Fun.(*ast.Ident); ok && (name.Name == "onEngines" || name.Name == "onKinds") {
						found[f.Name.Name] = name.Name == "onKinds"
					}
				}
				return true
			})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if at, ok := table[name]; !ok {
			t.Errorf("%s is not in the table", name)
		} else if found[name] != (at == fixed) {
			t.Errorf("%s: in the table, fixed is %t", name, at == fixed)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if _, ok := found[name]; !ok {
			t.Errorf("the table has %s, which is no test", name)
		}
	}
}
