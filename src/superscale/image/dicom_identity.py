"""Taking a patient's identity out of a DICOM header: direct identifiers of the basic profile (PS3.15, table E.1-1)."""

from __future__ import annotations

import secrets
from typing import Any

from pydicom._uid_dict import UID_dictionary
from pydicom.datadict import keyword_for_tag
from pydicom.uid import UID, generate_uid

# Required where they stand (type 2): emptied. Everything else that is named here, or has a kind below, is removed.
EMPTIED = frozenset(
    {"PatientName", "PatientID", "PatientBirthDate", "PatientSex", "ReferringPhysicianName", "AccessionNumber", "StudyID"}
    | {"StudyDate", "StudyTime", "SeriesDate", "SeriesTime", "ContentDate", "ContentTime"}
    | {"AcquisitionDate", "AcquisitionTime"}
)
REMOVED = frozenset(
    {
        "OtherPatientIDs",
        "OtherPatientIDsSequence",
        "IssuerOfPatientID",
        "IssuerOfPatientIDQualifiersSequence",
        "TypeOfPatientID",
    }
    | {"PatientAge", "PatientSize", "PatientWeight", "PatientAddress", "PatientTelephoneNumbers", "PatientTelecomInformation"}
    | {"EthnicGroup", "EthnicGroupCodeSequence", "Occupation", "MilitaryRank", "BranchOfService", "CountryOfResidence"}
    | {"RegionOfResidence", "PatientReligiousPreference", "PatientInsurancePlanCodeSequence", "MedicalRecordLocator"}
    | {"PatientState", "PregnancyStatus", "SmokingStatus", "PatientSexNeutered", "SpecialNeeds", "MedicalAlerts", "Allergies"}
    | {"PatientPrimaryLanguageCodeSequence", "InstitutionName", "InstitutionAddress", "InstitutionCodeSequence"}
    | {
        "InstitutionalDepartmentName",
        "InstitutionalDepartmentTypeCodeSequence",
        "StationName",
        "DeviceSerialNumber",
        "DeviceUID",
    }
    | {"PlateID", "CassetteID", "DetectorID", "GantryID", "GeneratorID", "XRaySourceID", "SourceSerialNumber"}
    | {"ReferringPhysicianAddress", "ReferringPhysicianTelephoneNumbers", "RequestingService", "RequestedProcedureID"}
    | {"ScheduledProcedureStepID", "PerformedProcedureStepID", "PerformedStationName", "PerformedStationAETitle"}
    | {"PerformedLocation", "FillerOrderNumberImagingServiceRequest", "PlacerOrderNumberImagingServiceRequest", "AdmissionID"}
    | {
        "IssuerOfAdmissionID",
        "ServiceEpisodeID",
        "CurrentPatientLocation",
        "PatientInstitutionResidence",
        "RequestAttributesSequence",
    }
    | {"ReferencedRequestSequence", "ReferencedPerformedProcedureStepSequence", "ReferencedPatientSequence"}
    | {"ReferencedStudySequence", "ReferencedPatientPhotoSequence", "OriginalAttributesSequence", "ClinicalTrialSubjectID"}
    | {"ClinicalTrialSubjectReadingID", "ClinicalTrialSiteID", "ClinicalTrialSiteName", "ClinicalTrialSponsorName"}
    | {
        "ClinicalTrialProtocolID",
        "ClinicalTrialProtocolName",
        "ClinicalTrialCoordinatingCenterName",
        "ConsentForClinicalTrialUseSequence",
    }
    | {
        "StudyDescription",
        "SeriesDescription",
        "ProtocolName",
        "PerformedProcedureStepDescription",
        "RequestedProcedureDescription",
    }
    | {"ImageComments", "FrameComments", "PatientComments", "StudyComments", "DerivationDescription", "ReasonForStudy"}
    | {
        "AdmittingDiagnosesDescription",
        "AdmittingDiagnosesCodeSequence",
        "ContributingEquipmentSequence",
        "PersonIdentificationCodeSequence",
    }
    | {
        "PhysiciansOfRecordIdentificationSequence",
        "PerformingPhysicianIdentificationSequence",
        "OperatorIdentificationSequence",
    }
    | {
        "ReferringPhysicianIdentificationSequence",
        "PhysiciansReadingStudyIdentificationSequence",
        "StudyIDIssuer",
        "RetrieveAETitle",
    }
    | {"TimezoneOffsetFromUTC", "ContentCreatorIdentificationCodeSequence", "DataSetTrailingPadding", "IconImageSequence"}
)
# Names of persons, ages, dates, times, long texts, application entities, links.
REMOVED_KINDS = frozenset({"PN", "AS", "DA", "TM", "DT", "LT", "ST", "UT", "AE", "UR"})
# Required with a value in multi-frame pictures and in positron emission tomography.
DUMMIES = {"DA": "19000101", "TM": "000000", "DT": "19000101000000"}
REQUIRED_DATES = frozenset(
    {"ContentDate", "ContentTime", "AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime", "SeriesDate", "SeriesTime"}
)
METHOD = "PS3.15 basic profile, direct identifiers (superscale)"
# UIDs that are the same in a file and in those that refer to it, also in other files of this process; nobody else can repeat them.
SECRET = secrets.token_hex(16)


def remove_identity(header: Any) -> None:
    """Change a header in place: no names, identifiers, dates, free texts and private elements; UIDs are replaced, alike in a run."""
    _clean(header, "SharedFunctionalGroupsSequence" in header or header.get("Modality") == "PT")
    header.PatientIdentityRemoved = "YES"
    header.DeidentificationMethod = METHOD


def another_uid(uid: str, *reasons: str) -> UID:
    """A UID that is always the same for another one and the same reasons."""
    return generate_uid(entropy_srcs=[str(uid), *reasons])


def _clean(item: Any, needs_dates: bool) -> None:
    for element in list(item):
        keyword = keyword_for_tag(element.tag)
        if element.tag.is_private:
            del item[element.tag]
        elif needs_dates and keyword in REQUIRED_DATES:
            element.value = DUMMIES[element.VR]
        elif keyword in EMPTIED:
            element.value = None
        elif keyword in REMOVED or element.VR in REMOVED_KINDS:
            del item[element.tag]
        elif element.VR == "UI":
            element.value = _replaced(element.value)
        elif element.VR == "SQ":
            for nested in element.value:
                _clean(nested, needs_dates)


def _replaced(value: Any) -> Any:
    """UIDs of the standard stay: they name kinds of things."""
    if value and not isinstance(value, str):
        return [_replaced(one) for one in value]
    return value if not value or value in UID_dictionary else another_uid(value, SECRET)
